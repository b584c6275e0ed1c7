import { credentials, Client as GrpcClient, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { HEALTH_CHECK_METHOD } from '../../src/inference/health-service.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestWorker } from '../support/worker.js';

let calls = 0;
let tokens: TokenSet;
let worker: Awaited<ReturnType<typeof startTestWorker>>;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  calls = 0;
  tokens = new TokenSet(['caller', 'old-caller']);
  const app = new App().capability({ type: 'count' }, () => ({ n: [++calls] }));
  worker = await startTestWorker(app, { callTokens: () => tokens });
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await worker.stop();
});

function createClient(callToken?: string | (() => string)): InferenceClient {
  const client = new InferenceClient({ endpoint: worker.replica.endpoint, callToken }, { clock, random });
  cleanups.push(() => client.close());
  return client;
}

/** Makes a raw call with these values of `authorization` and returns its gRPC status. */
function callForStatus(path: string, authorization: readonly string[], message = Buffer.alloc(0)): Promise<number> {
  const bare = new GrpcClient(worker.replica.endpoint, credentials.createInsecure());
  cleanups.push(() => bare.close());
  const metadata = new Metadata();
  for (const value of authorization) metadata.add('authorization', value);
  const identity = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    bare.makeUnaryRequest(path, identity, identity, message, metadata, {}, (error: ServiceError | null) =>
      resolve(error?.code ?? 0),
    );
  });
}

const UNAUTHENTICATED = 16;
const GUARDED = ['modelInfer', 'modelStreamInfer', 'modelMetadata', 'modelReady', 'serverMetadata'] as const;

describe('a worker that requires a token', () => {
  it('accepts calls with a valid token', async () => {
    for (const token of ['caller', 'old-caller']) {
      await createClient(token).infer('count', {});
      for await (const _part of createClient(token).inferStream('count', {}));
      expect(await createClient(token).modelReady('count')).toBe(true);
      await createClient(token).modelMetadata('count');
      await createClient(token).serverMetadata();
    }
    expect(calls).toBe(4);
  });

  it.each([
    [[]],
    [['']],
    [['caller']],
    [['Bearer']],
    [['Bearer wrong']],
    [['Bearer calle']],
    [['Bearer caller2']],
    [['Bearer cal ler']],
    [['Basic caller']],
  ])('rejects %j on every guarded method', async (authorization) => {
    for (const name of GUARDED) {
      expect(await callForStatus(INFERENCE_SERVICE[name].path, authorization)).toBe(UNAUTHENTICATED);
    }
    expect(calls).toBe(0);
    expect(worker.log.lines).toEqual([]);
  });

  it('accepts the scheme in any letter case', async () => {
    expect(await callForStatus(INFERENCE_SERVICE.serverMetadata.path, ['bearer caller'])).toBe(0);
  });

  it('rejects a large message without reading it', async () => {
    const large = Buffer.alloc(3 * 1024 * 1024);
    expect(await callForStatus(INFERENCE_SERVICE.modelInfer.path, ['Bearer wrong'], large)).toBe(UNAUTHENTICATED);
  });

  it('responds to health checks without a token', async () => {
    expect(await createClient().serverLive()).toBe(true);
    expect(await createClient().serverReady()).toBe(true);
    expect(await callForStatus(HEALTH_CHECK_METHOD.path, [])).toBe(0);
  });

  it('tells the client what it requires, and the client does not retry elsewhere', async () => {
    const failure = createClient('s3cret').infer('count', { n: [1] });
    await expect(failure).rejects.toMatchObject({
      code: 'unauthenticated',
      message: `${worker.replica.endpoint}: unknown call token; set one with --call-token-file or ANYSERVE_CALL_TOKEN`,
    });
    for await (const _part of createClient('caller').inferStream('count', {}));
    const stream = createClient().inferStream('count', {});
    await expect(stream.next()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('uses the current tokens, as do its callers', async () => {
    let token = 'caller';
    const caller = createClient(() => token);
    await caller.infer('count', {});
    tokens = new TokenSet(['new']);
    await expect(caller.infer('count', {})).rejects.toMatchObject({ code: 'unauthenticated' });
    token = 'new';
    await caller.infer('count', {});
    expect(calls).toBe(2);
  });
});

describe('a worker that is reachable from other hosts', () => {
  it('warns when it requires no token', async () => {
    const app = new App().capability({ type: 'a' }, () => ({}));
    const open = await startTestWorker(app, { host: '0.0.0.0', advertise: 'localhost:1' });
    cleanups.push(() => open.stop());
    expect(open.log.lines).toEqual([expect.stringContaining('anyone who can connect to 0.0.0.0 can call the models')]);
    const guarded = await startTestWorker(app, { host: '0.0.0.0', advertise: 'localhost:1', callTokens: () => tokens });
    cleanups.push(() => guarded.stop());
    expect(guarded.log.lines).toEqual([]);
  });
});
