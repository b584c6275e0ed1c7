import { afterEach, beforeEach, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { AnyserveError } from '../../src/core/errors.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

/** A backend that is as well as a test says. */
class Patient extends App {
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
let time: ManualClock;
let patient: Patient;
let worker: Awaited<ReturnType<typeof startTestWorker>>;
let client: InferenceClient;

beforeEach(async () => {
  api = await startTestApiServer();
  time = new ManualClock();
  patient = new Patient();
});

afterEach(async () => {
  await client.close();
  await worker.stop();
  await api.close();
});

async function started(): Promise<void> {
  worker = await startTestWorker(patient, { servers: [api.url], id: 'w1' }, time);
  client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
}

const isListed = (): boolean => api.registry.replicas().length === 1;

it('a worker is in the list once its backend is well, and says it waits until then', async () => {
  patient.reason = 'still loading';
  await started();
  await until('it was looked at', () => worker.log.lines.length > 0);
  expect(worker.log.lines).toEqual(['waiting for still loading']);
  expect([isListed(), await client.serverReady(), await client.modelReady('chat')]).toEqual([false, false, false]);
  patient.reason = undefined;
  time.advance(1000);
  await until('it is listed', isListed);
  expect([await client.serverReady(), await client.modelReady('chat')]).toEqual([true, true]);
});

it('a worker leaves the list while its backend is unwell, and comes back', async () => {
  await started();
  await until('it is listed', isListed);
  patient.reason = 'out of memory';
  time.advance(3000);
  await until('it is out of the list', () => !isListed());
  expect(worker.log.lines).toEqual(['not ready: out of memory']);
  expect([await client.serverLive(), await client.serverReady()]).toEqual([true, false]);
  patient.reason = undefined;
  time.advance(1000);
  await until('it is back', isListed);
  expect(await client.serverReady()).toBe(true);
});

it('a worker has its backend looked at as soon as a call finds it unavailable', async () => {
  await started();
  await until('it is listed', isListed);
  patient.reason = 'gone';
  await expect(client.infer('chat', {})).rejects.toMatchObject({ code: 'unavailable' });
  await until('it is out of the list', () => !isListed());
});

it('a worker that has stopped looks no more', async () => {
  await started();
  await until('it is listed', isListed);
  await worker.stop();
  expect(time.pending()).toEqual([]);
});
