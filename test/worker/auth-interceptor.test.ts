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

function client(callToken?: string | (() => string)): InferenceClient {
  const made = new InferenceClient({ endpoint: worker.replica.endpoint, callToken }, { clock, random });
  cleanups.push(() => made.close());
  return made;
}

/** The gRPC status of a bare call with these values of `authorization`. */
function statusOf(path: string, authorization: readonly string[], message = Buffer.alloc(0)): Promise<number> {
  const bare = new GrpcClient(worker.replica.endpoint, credentials.createInsecure());
  cleanups.push(() => bare.close());
  const metadata = new Metadata();
  for (const value of authorization) metadata.add('authorization', value);
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    bare.makeUnaryRequest(path, asIs, asIs, message, metadata, {}, (error: ServiceError | null) =>
      resolve(error?.code ?? 0),
    );
  });
}

const UNAUTHENTICATED = 16;
const GUARDED = ['modelInfer', 'modelStreamInfer', 'modelMetadata', 'modelReady', 'serverMetadata'] as const;

describe('a worker that asks for a token', () => {
  it('answers calls that show one', async () => {
    for (const token of ['caller', 'old-caller']) {
      await client(token).infer('count', {});
      for await (const _part of client(token).inferStream('count', {}));
      expect(await client(token).modelReady('count')).toBe(true);
      await client(token).modelMetadata('count');
      await client(token).serverMetadata();
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
  ])('turns every guarded method away from %j', async (authorization) => {
    for (const name of GUARDED) {
      expect(await statusOf(INFERENCE_SERVICE[name].path, authorization)).toBe(UNAUTHENTICATED);
    }
    expect(calls).toBe(0);
    expect(worker.log.lines).toEqual([]);
  });

  it('takes the scheme in any case', async () => {
    expect(await statusOf(INFERENCE_SERVICE.serverMetadata.path, ['bearer caller'])).toBe(0);
  });

  it('turns a large message away without reading it', async () => {
    const large = Buffer.alloc(3 * 1024 * 1024);
    expect(await statusOf(INFERENCE_SERVICE.modelInfer.path, ['Bearer wrong'], large)).toBe(UNAUTHENTICATED);
  });

  it('tells its health to all', async () => {
    expect(await client().serverLive()).toBe(true);
    expect(await client().serverReady()).toBe(true);
    expect(await statusOf(HEALTH_CHECK_METHOD.path, [])).toBe(0);
  });

  it('says what it needs, to a client that does not try elsewhere', async () => {
    const failure = client('s3cret').infer('count', { n: [1] });
    await expect(failure).rejects.toMatchObject({
      code: 'unauthenticated',
      message: `${worker.replica.endpoint}: unknown call token; set one with --call-token-file or ANYSERVE_CALL_TOKEN`,
    });
    for await (const _part of client('caller').inferStream('count', {}));
    const stream = client().inferStream('count', {});
    await expect(stream.next()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('and its callers go by the tokens that hold at the time', async () => {
    let token = 'caller';
    const caller = client(() => token);
    await caller.infer('count', {});
    tokens = new TokenSet(['new']);
    await expect(caller.infer('count', {})).rejects.toMatchObject({ code: 'unauthenticated' });
    token = 'new';
    await caller.infer('count', {});
    expect(calls).toBe(2);
  });
});

describe('a worker that others reach', () => {
  it('warns when it asks for no token', async () => {
    const app = new App().capability({ type: 'a' }, () => ({}));
    const open = await startTestWorker(app, { host: '0.0.0.0', advertise: 'localhost:1' });
    cleanups.push(() => open.stop());
    expect(open.log.lines).toEqual([expect.stringContaining('anyone who can connect to 0.0.0.0 can call the models')]);
    const guarded = await startTestWorker(app, { host: '0.0.0.0', advertise: 'localhost:1', callTokens: () => tokens });
    cleanups.push(() => guarded.stop());
    expect(guarded.log.lines).toEqual([]);
  });
});
