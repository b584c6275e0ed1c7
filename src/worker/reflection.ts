import { readFile } from 'node:fs/promises';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';

/** The services that reflection describes, each by the descriptor set that `npm run proto` compiles. */
const DESCRIPTOR_SETS = ['open_inference', 'grpc_health', 'grpc_reflection'] as const;

/**
 * Adds the reflection services (v1 and v1alpha), which describe every service to tools such as grpcurl. The descriptors
 * come from the proto compiler. Those that a loader of proto files makes at run time name map entries differently, which
 * protobuf's own libraries reject.
 */
export async function addReflection(server: Server): Promise<void> {
  const [{ ReflectionService }, ...sets] = await Promise.all([
    import('@grpc/reflection'),
    ...DESCRIPTOR_SETS.map((name) => readFile(new URL(`../../proto/${name}.binpb`, import.meta.url))),
  ]);
  const definitions = Object.fromEntries(
    sets.map((set, at) => [DESCRIPTOR_SETS[at], { fileDescriptorProtos: filesOf(set) }]),
  );
  new ReflectionService(definitions as unknown as PackageDefinition).addToServer(server);
}

/** The files of an encoded `FileDescriptorSet`, each as bytes: its field 1. */
function filesOf(descriptorSet: Uint8Array): Buffer[] {
  const reader = new BinaryReader(descriptorSet);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
}
