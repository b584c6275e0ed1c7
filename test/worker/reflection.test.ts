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
    const { listServicesResponse } = await reflect(version, { listServices: '*' });
    expect(listServicesResponse.service.map(({ name }: { name: string }) => name).sort()).toEqual(SERVICES);
  });

  it.each(SERVICES)('describes %s with files that protobuf accepts', async (service) => {
    const files = await loadFiles(version, service);
    expect(files.getService(service)?.methods.length).toBeGreaterThan(0);
  });

  it('names map entries as the proto compiler does', async () => {
    const names = [];
    for (const service of SERVICES)
      for (const map of listMapEntries(await loadFiles(version, service))) names.push(map);
    expect(names).toContain('grpc.health.v1.HealthListResponse.StatusesEntry');
    expect(names).toContain('inference.ModelInferRequest.ParametersEntry');
  });
});

it('the proto file has the Go package option that protoc-gen-go requires', async () => {
  const [file] = [...(await loadFiles('v1', 'inference.GRPCInferenceService')).files];
  expect(file?.proto.options?.goPackage).toMatch(/^[\w.-]+\/[\w./-]+;\w+$/);
});

/** Makes one request to the reflection service, through the library for it. */
async function reflect(version: string, request: object) {
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

/** Returns the linked files of a service. Throws when a name does not resolve or a descriptor is invalid. */
async function loadFiles(version: string, service: string): Promise<Files> {
  const { fileDescriptorResponse } = await reflect(version, { fileContainingSymbol: service });
  const file = fileDescriptorResponse.fileDescriptorProto.map((bytes: Uint8Array) =>
    fromBinary(FileDescriptorProtoSchema, bytes),
  );
  const set = fromBinary(
    FileDescriptorSetSchema,
    toBinary(FileDescriptorSetSchema, { $typeName: 'google.protobuf.FileDescriptorSet', file }),
  );
  return createFileRegistry(set);
}

/** Returns the entry message of each map field. Protobuf requires its name to be the field name in camel case. */
function listMapEntries(files: Files): string[] {
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
