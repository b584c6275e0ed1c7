import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../src/index.js';
import { type Running, start, stopAll } from '../support/binary.js';
import { type ServerProcess, startServer } from '../support/fleet.js';
import { type RepeatedRequests, repeatRequests } from '../support/repeated-requests.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

/** Repeats a request until it is stopped, at the latest at the end of the test. */
function repeat(perSecond: number, request: () => Promise<void>): RepeatedRequests {
  const requests = repeatRequests(perSecond, request);
  cleanups.push(() => requests.stop());
  return requests;
}

/** A model that responds after `ms` milliseconds. */
const WAITING_MODEL = `export default (app) => app.capability({ type: 'wait' }, { inputs: { ms: 'INT32' } }, async ({ ms }) => {
  await new Promise((resolve) => setTimeout(resolve, ms.data[0]));
  return { ms };
});`;

interface Fleet {
  readonly server: ServerProcess;
  readonly workers: readonly Running[];
  readonly client: Client;
  /** Makes a call that takes this time, in ms. */
  call(ms: number): Promise<void>;
}

/** Starts an API server, workers in processes of their own, and a client whose table knows them. */
async function startFleet(workerCount: number): Promise<Fleet> {
  const server = await startServer();
  const file = join(mkdtempSync(join(tmpdir(), 'anyserve-fault-')), 'wait.mjs');
  writeFileSync(file, WAITING_MODEL);
  const workers = Array.from({ length: workerCount }, () =>
    start(['worker', file, '--port', '0', '--max-concurrency', '1000', '--server', server.url]),
  );
  await Promise.all(workers.map((worker) => worker.waitForOutput(/registered/)));
  const client = new Client({ server: server.url, capability: { type: 'wait' } });
  cleanups.push(() => client.close());
  await until('the client knows all workers', async () => (await client.replicas()).length === workerCount);
  const call = async (ms: number): Promise<void> => {
    await client.infer('wait', { ms: Int32Array.of(ms) }, { timeoutMs: 60_000 });
  };
  return { server, workers, client, call };
}

describe('a fleet of four workers', () => {
  it('fails no call when one is killed, also not of 300 long ones in progress', async () => {
    const { workers, call } = await startFleet(4);
    const long = repeat(300, () => call(10_000));
    await until('300 calls are in progress', () => long.getCount() >= 300);
    const longCalls = long.stop();
    const short = repeat(100, () => call(5));
    await until('short calls are made', () => short.getCount() > 100);
    await workers[0]?.stop('SIGKILL');
    await longCalls;
    await short.stop();
    console.info(`measured: ${long.getCount()} long and ${short.getCount()} short calls`);
    expect([long.failures, short.failures]).toEqual([[], []]);
  }, 60_000);

  it.each([
    ['an API server', false],
    ['no API server', true],
  ])(
    'fails no call when one freezes, and each takes at most 15 s longer: with %s',
    async (_with, isServerGone) => {
      const { server, workers, call } = await startFleet(4);
      const short = repeat(100, () => call(5));
      await until('calls are made', () => short.getCount() > 100);
      if (isServerGone) await server.running.stop('SIGKILL');
      workers[0]?.child.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 20_000));
      await short.stop();
      workers[0]?.child.kill('SIGCONT');
      console.info(`measured: ${short.getCount()} calls, the longest took ${Math.round(short.getLongestMs())} ms`);
      expect(short.failures).toEqual([]);
      expect(short.getLongestMs()).toBeLessThan(15_500);
    },
    90_000,
  );

  it('fails no call while no API server is there for 30 s', async () => {
    const { server, call } = await startFleet(4);
    await server.running.stop('SIGKILL');
    const short = repeat(100, () => call(5));
    await new Promise((resolve) => setTimeout(resolve, 30_000));
    await short.stop();
    expect(short.failures).toEqual([]);
  }, 60_000);
});
