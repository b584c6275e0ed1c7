use prost::Message;

/// Generates the client from the descriptors, so that no protoc is needed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = "../../../proto/open_inference.binpb";
    println!("cargo:rerun-if-changed={path}");
    let descriptors = prost_types::FileDescriptorSet::decode(&*std::fs::read(path)?)?;
    tonic_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
