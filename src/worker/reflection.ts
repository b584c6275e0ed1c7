import { readFile } from 'node:fs/promises';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';

/** Descriptor sets of the services that reflection describes. `npm run proto` compiles them. */
const DESCRIPTOR_SETS = ['open_inference', 'grpc_health', 'grpc_reflection'] as const;

/**
 * Adds the reflection services (v1 and v1alpha), which describe all services to tools such as grpcurl. The descriptors
 * come from the proto compiler. A loader that parses proto files at run time would name map entries differently, and
 * protobuf's own libraries reject such names.
 */
export async function addReflection(server: Server): Promise<void> {
  const [{ ReflectionService }, ...sets] = await Promise.all([
    import('@grpc/reflection'),
    ...DESCRIPTOR_SETS.map((name) => readFile(new URL(`../../proto/${name}.binpb`, import.meta.url))),
  ]);
  const definitions = Object.fromEntries(
    sets.map((set, index) => [DESCRIPTOR_SETS[index], { fileDescriptorProtos: parseFiles(set) }]),
  );
  new ReflectionService(definitions as unknown as PackageDefinition).addToServer(server);
}

/** Returns the files of an encoded `FileDescriptorSet` (its field 1), each as bytes. */
function parseFiles(descriptorSet: Uint8Array): Buffer[] {
  const reader = new BinaryReader(descriptorSet);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
}
