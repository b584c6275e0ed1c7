import { afterEach, beforeEach, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { AnyserveError } from '../../src/core/errors.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

/** A backend whose health the test sets. */
class FakeBackend extends App {
  reason: string | undefined;

  constructor() {
    super();
    this.capability({ type: 'chat' }, () => {
      if (this.reason !== undefined) throw new AnyserveError('unavailable', this.reason);
      return {};
    });
  }

  async check(): Promise<void> {
    if (this.reason !== undefined) throw new AnyserveError('unavailable', this.reason);
  }
}

let api: TestApiServer;
let manualClock: ManualClock;
let backend: FakeBackend;
let worker: Awaited<ReturnType<typeof startTestWorker>>;
let client: InferenceClient;

beforeEach(async () => {
  api = await startTestApiServer();
  manualClock = new ManualClock();
  backend = new FakeBackend();
});

afterEach(async () => {
  await client.close();
  await worker.stop();
  await api.close();
});

async function startWorker(): Promise<void> {
  worker = await startTestWorker(backend, { servers: [api.url], id: 'w1' }, manualClock);
  client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
}

const isListed = (): boolean => api.registry.replicas().length === 1;

it('a worker registers once its backend is healthy, and logs the reason until then', async () => {
  backend.reason = 'still loading';
  await startWorker();
  await until('it was checked', () => worker.log.lines.length > 0);
  expect(worker.log.lines).toEqual(['waiting for still loading']);
  expect([isListed(), await client.serverReady(), await client.modelReady('chat')]).toEqual([false, false, false]);
  backend.reason = undefined;
  manualClock.advance(1000);
  await until('it is listed', isListed);
  expect([await client.serverReady(), await client.modelReady('chat')]).toEqual([true, true]);
});

it('a worker leaves the list while its backend is unhealthy, and returns afterwards', async () => {
  await startWorker();
  await until('it is listed', isListed);
  backend.reason = 'out of memory';
  manualClock.advance(3000);
  await until('it is no longer listed', () => !isListed());
  expect(worker.log.lines).toEqual(['not ready: out of memory']);
  expect([await client.serverLive(), await client.serverReady()]).toEqual([true, false]);
  backend.reason = undefined;
  manualClock.advance(1000);
  await until('it is back', isListed);
  expect(await client.serverReady()).toBe(true);
});

it('a worker checks its backend as soon as a call fails with unavailable', async () => {
  await startWorker();
  await until('it is listed', isListed);
  backend.reason = 'gone';
  await expect(client.infer('chat', {})).rejects.toMatchObject({ code: 'unavailable' });
  await until('it is no longer listed', () => !isListed());
});

it('a stopped worker no longer checks its backend', async () => {
  await startWorker();
  await until('it is listed', isListed);
  await worker.stop();
  expect(manualClock.pending()).toEqual([]);
});
