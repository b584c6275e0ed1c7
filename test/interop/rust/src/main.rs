//! A client generated from proto/open_inference.proto, against a worker with `echo`.

use inference::{
    grpc_inference_service_client::GrpcInferenceServiceClient, model_infer_request::InferInputTensor,
    InferTensorContents, ModelInferRequest, ModelReadyRequest,
};

pub mod inference {
    tonic::include_proto!("inference");
}

fn request(text: &str) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "echo".into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: "BYTES".into(),
            shape: vec![1],
            contents: Some(InferTensorContents { bytes_contents: vec![text.into()], ..Default::default() }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::args().nth(1).expect("usage: inference-client HOST:PORT");
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{endpoint}")).await?;
    let ready = client.model_ready(ModelReadyRequest { name: "echo".into(), ..Default::default() }).await?;
    assert!(ready.into_inner().ready);
    let answer = client.model_infer(request("Grüße")).await?.into_inner();
    let contents = answer.outputs[0].contents.clone().expect("typed contents");
    assert_eq!(contents.bytes_contents, vec!["Grüße".as_bytes().to_vec()]);

    let requests = tokio_stream::iter(["one", "two"].map(request));
    let mut answers = client.model_stream_infer(requests).await?.into_inner();
    let mut texts = Vec::new();
    while let Some(part) = answers.message().await? {
        assert_eq!(part.error_message, "");
        let answer = part.infer_response.expect("a response");
        texts.extend(answer.outputs[0].contents.clone().expect("typed contents").bytes_contents);
    }
    assert_eq!(texts, vec![b"one".to_vec(), b"two".to_vec()]);

    let failure = client.model_infer(ModelInferRequest { model_name: "nobody".into(), ..request("x") }).await;
    assert_eq!(failure.expect_err("a failure").code(), tonic::Code::NotFound);
    println!("all held");
    Ok(())
}
