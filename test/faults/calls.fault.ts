import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { Client } from '../../src/index.js';
import { type Running, start, stopAll } from '../support/binary.js';
import { type ServerProcess, startServer } from '../support/fleet.js';
import { type RepeatedRequests, repeatRequests } from '../support/repeated-requests.js';
import { until } from '../support/until.js';

afterAll(stopAll);

/** A model that responds after `ms` milliseconds. */
const WAITING_MODEL = `export default (app) => app.capability({ type: 'wait' }, { inputs: { ms: 'INT32' } }, async ({ ms }) => {
  await new Promise((resolve) => setTimeout(resolve, ms.data[0]));
  return { ms };
});`;

interface Fleet {
  readonly server: ServerProcess;
  readonly workers: readonly Running[];
  /** Repeats a call that takes `ms` milliseconds until it is stopped, at the latest at the end of the test. */
  repeatCalls(perSecond: number, ms: number): RepeatedRequests;
}

/** Starts an API server, workers in processes of their own, and a client whose table knows them. */
async function startFleet(workerCount: number, { onTestFinished }: TestContext): Promise<Fleet> {
  const server = await startServer();
  onTestFinished(() => void server.running.child.kill('SIGKILL'));
  const file = join(mkdtempSync(join(tmpdir(), 'anyserve-fault-')), 'wait.mjs');
  writeFileSync(file, WAITING_MODEL);
  const workers = Array.from({ length: workerCount }, () =>
    start(['worker', file, '--port', '0', '--max-concurrency', '1000', '--server', server.url]),
  );
  onTestFinished(() => {
    for (const { child } of workers) child.kill('SIGKILL');
  });
  await Promise.all(workers.map((worker) => worker.waitForOutput(/registered/)));
  const client = new Client({ server: server.url, capability: { type: 'wait' } });
  onTestFinished(() => client.close());
  await until('the client knows all workers', async () => (await client.replicas()).length === workerCount);
  const repeatCalls = (perSecond: number, ms: number): RepeatedRequests => {
    const calls = repeatRequests(perSecond, async () => {
      await client.infer('wait', { ms: Int32Array.of(ms) }, { timeoutMs: 60_000 });
    });
    onTestFinished(() => calls.stop());
    return calls;
  };
  return { server, workers, repeatCalls };
}

function report({ getCount, getLongestMs }: RepeatedRequests): void {
  console.info(`measured: ${getCount()} calls, the longest took ${Math.round(getLongestMs())} ms`);
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a fleet of four workers', () => {
  it('fails no call when one is killed, also not of 300 long ones in progress', async (context) => {
    const { workers, repeatCalls } = await startFleet(4, context);
    const long = repeatCalls(300, 10_000);
    await until('300 calls are in progress', () => long.getCount() >= 300);
    const longCalls = long.stop();
    const short = repeatCalls(100, 5);
    await until('short calls are made', () => short.getCount() > 100);
    await workers[0]?.stop('SIGKILL');
    await longCalls;
    await short.stop();
    console.info(`measured: ${long.getCount()} long and ${short.getCount()} short calls`);
    expect([long.failures, short.failures]).toEqual([[], []]);
  });
});

// Each test has a fleet, and only waits: they run at the same time.
describe.concurrent('a fleet of four workers', () => {
  it.for([
    ['an API server', false],
    ['no API server', true],
  ] as const)(
    'fails no call when one freezes, and each takes at most 15 s longer: with %s',
    async ([, isServerGone], context) => {
      const { server, workers, repeatCalls } = await startFleet(4, context);
      const short = repeatCalls(100, 5);
      await until('calls are made', () => short.getCount() > 100);
      if (isServerGone) await server.running.stop('SIGKILL');
      workers[0]?.child.kill('SIGSTOP');
      await sleep(20_000);
      await short.stop();
      workers[0]?.child.kill('SIGCONT');
      report(short);
      expect(short.failures).toEqual([]);
      expect(short.getLongestMs()).toBeLessThan(15_500);
    },
  );

  it('fails no call while no API server is there for 60 s', async (context) => {
    const { server, repeatCalls } = await startFleet(4, context);
    await server.running.stop('SIGKILL');
    const short = repeatCalls(100, 5);
    await sleep(60_000);
    await short.stop();
    report(short);
    expect(short.failures).toEqual([]);
    expect(short.getCount()).toBeGreaterThan(5900);
  });
});
