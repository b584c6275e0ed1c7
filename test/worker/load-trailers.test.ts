import { credentials, Client as GrpcClient, Metadata, type StatusObject } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NO_PARAMETERS, type RequestMessage } from '../../src/inference/protocol-messages.js';
import { INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR_KEY } from '../../src/inference/service-definition.js';
import { App } from '../../src/worker/app.js';
import type { Backend } from '../../src/worker/backend.js';
import { LoadTrailers } from '../../src/worker/load-trailers.js';
import { ManualClock } from '../support/manual-clock.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];
/** The calls that the model has begun, and not yet finished. */
let finish: (() => void)[];
let client: GrpcClient;
let clock: ManualClock;

beforeEach(async () => {
  finish = [];
  clock = new ManualClock();
  const app = new App()
    .capability({ model: 'fast' }, () => ({ ok: [true] }))
    .capability({ model: 'slow' }, async () => {
      await new Promise<void>((resolve) => finish.push(resolve));
      return { ok: [true] };
    });
  const worker = await startTestWorker(app, { maxConcurrency: 2, maxQueue: 1 }, clock);
  client = new GrpcClient(worker.replica.endpoint, credentials.createInsecure());
  cleanups.push(
    () => worker.stop(),
    () => client.close(),
  );
});

afterEach(async () => {
  for (const one of finish) one();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function createRequest(modelName: string): RequestMessage {
  const empty = { id: '', modelVersion: '', parameters: NO_PARAMETERS, inputs: [], outputs: [], rawInputContents: [] };
  return { modelName, ...empty };
}

/** Makes a call and resolves to its status code and its load: `0: 1 running, 0 waiting, limit 2`. */
function call(modelName: string, caller = client): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = INFERENCE_SERVICE.modelInfer;
  return new Promise((resolve) => {
    caller
      .makeUnaryRequest(path, requestSerialize, responseDeserialize, createRequest(modelName), () => {})
      .on('status', (status) => resolve(format(status)));
  });
}

/** Makes a streaming call. With `wantsStatus`, a failure is reported as the status of the stream. */
function stream(modelName: string, wantsStatus = false): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = INFERENCE_SERVICE.modelStreamInfer;
  const metadata = new Metadata();
  if (wantsStatus) metadata.set(STATUS_ON_STREAM_ERROR_KEY, 'true');
  return new Promise((resolve) => {
    const calling = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    calling.on('status', (status) => resolve(format(status)));
    calling.on('error', () => {});
    calling.resume();
    calling.end(createRequest(modelName));
  });
}

function format({ code, metadata }: StatusObject): string {
  const [running, waiting, limit] = ['running', 'waiting', 'limit'].map((key) => metadata.get(`anyserve-${key}`)[0]);
  const pushBack = metadata.get('grpc-retry-pushback-ms').map((ms) => `, push-back ${ms}`);
  return `${code}: ${running} running, ${waiting} waiting, limit ${limit}${pushBack}`;
}

/** Waits until the model has begun this number of calls. */
async function waitForCalls(count: number): Promise<void> {
  while (finish.length < count) await new Promise((resolve) => setImmediate(resolve));
}

describe('the load of a worker', () => {
  it('is in the trailing metadata of every response, without the call that it ends', async () => {
    expect(await call('fast')).toBe('0: 0 running, 0 waiting, limit 2');
    expect(await stream('fast')).toBe('0: 0 running, 0 waiting, limit 2');
    const slow = call('slow');
    await waitForCalls(1);
    expect(await call('fast')).toBe('0: 1 running, 0 waiting, limit 2');
    expect(await stream('fast')).toBe('0: 1 running, 0 waiting, limit 2');
    finish[0]?.();
    expect(await slow).toBe('0: 0 running, 0 waiting, limit 2');
  });

  it('is in the trailing metadata of every failure', async () => {
    const slow = [call('slow'), stream('slow')];
    await waitForCalls(2);
    expect(await call('unknown')).toBe('5: 2 running, 0 waiting, limit 2');
    expect(await stream('unknown', true)).toBe('5: 2 running, 0 waiting, limit 2');
    expect(await stream('unknown')).toBe('0: 2 running, 0 waiting, limit 2');
    const waiting = call('fast');
    await waitUntilOneWaits();
    expect(await call('fast')).toBe('8: 2 running, 1 waiting, limit 2');
    finish[0]?.();
    expect(await waiting).toMatch(/^0: [12] running, 0 waiting, limit 2$/);
    finish[1]?.();
    await Promise.all(slow);
  });

  it('is that of its engine, if the engine is the only backend', async () => {
    const app = new App().capability({ model: 'fast' }, () => ({ ok: [true] }));
    const other = new App().capability({ model: 'other' }, () => ({ ok: [true] }));
    const engine: Backend = { models: app.models, watchLoad: (listener) => listener({ running: 3, waiting: 4 }) };
    for (const [backends, load] of [
      [[engine], '3 running, 4 waiting'],
      [[engine, other], '0 running, 0 waiting'],
    ] as const) {
      const worker = await startTestWorker(engine, { backends });
      const engineClient = new GrpcClient(worker.replica.endpoint, credentials.createInsecure());
      cleanups.push(
        () => worker.stop(),
        () => engineClient.close(),
      );
      expect(await call('fast', engineClient)).toBe(`0: ${load}, limit 64`);
    }
  });

  it('is followed by a push-back if the queue is full and the duration of calls is known', async () => {
    const first = call('slow');
    await waitForCalls(1);
    clock.advance(2000);
    finish[0]?.();
    await first;
    const slow = [call('slow'), stream('slow')];
    await waitForCalls(3);
    const waiting = call('fast');
    await waitUntilOneWaits();
    expect(await call('fast')).toBe('8: 2 running, 1 waiting, limit 2, push-back 500');
    expect(await stream('fast', true)).toBe('8: 2 running, 1 waiting, limit 2, push-back 500');
    expect(await call('unknown')).toBe('5: 2 running, 1 waiting, limit 2');
    for (const one of finish) one();
    await Promise.all([...slow, waiting]);
  });

  it('takes no new objects for each response', () => {
    const load = { running: 0, waiting: 0, limit: 4 };
    const trailers = new LoadTrailers(load);
    const headers = trailers.clone().toHttp2Headers();
    expect(headers).toEqual({ 'anyserve-running': '0', 'anyserve-waiting': '0', 'anyserve-limit': '4' });
    load.running = 3;
    load.waiting = 1;
    expect(trailers.clone().toHttp2Headers()).toBe(headers);
    expect(headers).toEqual({ 'anyserve-running': '3', 'anyserve-waiting': '1', 'anyserve-limit': '4' });
  });
});

/** Waits until the worker reports that a call waits. */
async function waitUntilOneWaits(): Promise<void> {
  while (!(await stream('unknown', true)).includes('1 waiting')) {}
}
