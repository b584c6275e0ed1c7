import { createFileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type Client, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { load } from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEchoBackend } from '../../src/worker/echo-backend.js';
import { startTestWorker } from '../support/worker.js';

const SERVICES = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'inference.GRPCInferenceService',
];

type Files = ReturnType<typeof createFileRegistry>;

let worker: Awaited<ReturnType<typeof startTestWorker>>;

beforeAll(async () => {
  worker = await startTestWorker(createEchoBackend());
});

afterAll(() => worker.stop());

describe.each(['v1', 'v1alpha'])('reflection %s', (version) => {
  it('lists the services', async () => {
    const { listServicesResponse } = await ask(version, { listServices: '*' });
    expect(listServicesResponse.service.map(({ name }: { name: string }) => name).sort()).toEqual(SERVICES);
  });

  it.each(SERVICES)('describes %s with files that protobuf accepts', async (service) => {
    const files = await filesOf(version, service);
    expect(files.getService(service)?.methods.length).toBeGreaterThan(0);
  });

  it('names map entries as the proto compiler does', async () => {
    const names = [];
    for (const service of SERVICES) for (const map of mapFields(await filesOf(version, service))) names.push(map);
    expect(names).toContain('grpc.health.v1.HealthListResponse.StatusesEntry');
    expect(names).toContain('inference.ModelInferRequest.ParametersEntry');
  });
});

it('the protocol says where generated Go code goes, as protoc-gen-go demands', async () => {
  const [file] = [...(await filesOf('v1', 'inference.GRPCInferenceService')).files];
  expect(file?.proto.options?.goPackage).toMatch(/^[\w.-]+\/[\w./-]+;\w+$/);
});

/** One answer of the reflection service, read by the library that it is written with. */
async function ask(version: string, request: object) {
  const root = new URL('../../node_modules/@grpc/reflection/build/proto/', import.meta.url).pathname;
  const loaded = await load(`grpc/reflection/${version}/reflection.proto`, { includeDirs: [root], bytes: Buffer });
  const { grpc } = loadPackageDefinition(loaded) as never as {
    grpc: { reflection: Record<string, { ServerReflection: typeof Client }> };
  };
  const Service = grpc.reflection[version]?.ServerReflection as typeof Client;
  const client = new Service(worker.replica.endpoint, credentials.createInsecure());
  try {
    // biome-ignore lint/suspicious/noExplicitAny: the loader has no types.
    const call = (client as any).ServerReflectionInfo();
    call.write(request);
    call.end();
    // biome-ignore lint/suspicious/noExplicitAny: the loader has no types.
    return await new Promise<any>((resolve, reject) => call.once('data', resolve).once('error', reject));
  } finally {
    client.close();
  }
}

/** The files of a service, linked; throws where a name does not resolve or a descriptor does not hold. */
async function filesOf(version: string, service: string): Promise<Files> {
  const { fileDescriptorResponse } = await ask(version, { fileContainingSymbol: service });
  const file = fileDescriptorResponse.fileDescriptorProto.map((bytes: Uint8Array) =>
    fromBinary(FileDescriptorProtoSchema, bytes),
  );
  const set = fromBinary(
    FileDescriptorSetSchema,
    toBinary(FileDescriptorSetSchema, { $typeName: 'google.protobuf.FileDescriptorSet', file }),
  );
  return createFileRegistry(set);
}

/** The entry message of each map field, which protobuf requires to be called after its field, in camel case. */
function mapFields(files: Files): string[] {
  const entries: string[] = [];
  for (const type of files) {
    if (type.kind !== 'message') continue;
    for (const field of type.proto.field) {
      const nested = type.proto.nestedType.find(({ name }) => field.typeName === `.${type.typeName}.${name}`);
      if (!nested?.options?.mapEntry) continue;
      const camel = field.name.replace(/(?:^|_)(\w)/g, (_all, letter: string) => letter.toUpperCase());
      expect(nested.name).toBe(`${camel}Entry`);
      entries.push(`${type.typeName}.${nested.name}`);
    }
  }
  return entries;
}
