import { afterEach, describe, expect, it } from 'vitest';
import { App, Client } from '../../src/index.js';
import type { Worker } from '../../src/worker/worker-settings.js';
import { createApiClient, lookUp } from '../support/api-client.js';
import { start, stopAll } from '../support/binary.js';
import { assertHolds, measureTimeUntil, readRemovals, startCurlRegistrant, startServer } from '../support/fleet.js';
import { findOldRegistrations, findSelfTakeovers } from '../support/instance-checks.js';
import { createNetwork, findNetworkProblem } from '../support/netns.js';
import { RunRecorder } from '../support/recorded-run.js';
import { repeatRequests } from '../support/repeated-requests.js';
import { query, replica } from '../support/replicas.js';
import { keepRegistered, type RestartableServer, startServers } from '../support/restartable-server.js';
import { findLostTableEntries, findMissingReplicas, measureLongestOmission } from '../support/run-checks.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

/** Number of replicas of the fleet that take no calls. */
const IDLE_REPLICAS = 1000;

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Starts a recorder, which ends with the test. */
function startRecorder(): RunRecorder {
  const recorder = new RunRecorder();
  cleanups.push(() => recorder.stop());
  return recorder;
}

/** Keeps replicas of the type `idle` registered with all servers. */
function keepIdleReplicas(urls: readonly string[], count: number, recorder: RunRecorder): void {
  const api = createApiClient(urls);
  const keepers = Array.from({ length: count }, (_, n) =>
    keepRegistered(api, replica(`idle${n}`, { type: 'idle' }), recorder),
  );
  cleanups.push(async () => {
    await Promise.all(keepers.map((keeper) => keeper.stop()));
    api.close();
  });
}

/** Starts a worker with the model `double`, registered with all servers. `drain` is recorded. */
async function startWorker(urls: readonly string[], recorder: RunRecorder): Promise<Pick<Worker, 'drain'>> {
  const app = new App().capability({ type: 'double' }, { inputs: { x: 'INT32' } }, ({ x }) => ({
    y: Array.from(x.data, (value) => value * 2),
  }));
  const worker = await startTestWorker(app, { servers: urls, drainDelayMs: 1000 });
  const { id } = worker.replica;
  recorder.record({ kind: 'keeper-started', id, keeper: id });
  cleanups.push(() => worker.stop());
  return {
    drain() {
      recorder.record({ kind: 'keeper-stopped', id, keeper: id });
      return worker.drain();
    },
  };
}

/** Starts lookups and calls through all servers. */
function startLoad(urls: readonly string[]) {
  const api = createApiClient(urls);
  const client = new Client({ server: urls, capability: { type: 'double' } });
  cleanups.push(
    () => api.close(),
    () => client.close(),
  );
  const lookups = repeatRequests(200, async () => {
    const found = await lookUp(api, query({ type: 'idle' }));
    if (found.kind === 'none') throw new Error('no match for replicas that are alive');
  });
  const calls = repeatRequests(100, async () => {
    const { outputs } = await client.infer('double', { x: [21] });
    if (outputs['y']?.data[0] !== 42) throw new Error(`wrong result: ${JSON.stringify(outputs)}`);
  });
  cleanups.push(
    () => lookups.stop(),
    () => calls.stop(),
  );
  return { lookups, calls };
}

/** Returns a condition that holds when each server lists this many replicas. It asks at most four times a second. */
function createFleetCheck(servers: readonly RestartableServer[], count: number): () => Promise<boolean> {
  return async () => {
    await sleep(250);
    for (const server of servers) if ((await server.countReplicas()) !== count) return false;
    return true;
  };
}

/** Expects that a recording keeps the promises about several servers, and prints how long a server missed a replica. */
async function expectNoViolations(what: string, recorder: RunRecorder): Promise<void> {
  const recording = await recorder.stop();
  const longestMs = Math.round(measureLongestOmission(recording));
  console.info(
    `measured: ${what}: ${recording.events.length} events; a server missed a replica for ${longestMs} ms at most`,
  );
  const added = recording.events.filter(({ kind }) => kind === 'table-added');
  expect(added.length).toBeGreaterThan(0);
  const violations = [
    ...findMissingReplicas(recording),
    ...findOldRegistrations(recording),
    ...findSelfTakeovers(recording),
    ...findLostTableEntries(recording),
  ];
  expect(violations.slice(0, 10), `${violations.length} violations`).toEqual([]);
}

describe('three independent API servers', () => {
  it('lose no lookup and no call while each in turn is killed, stopped, frozen for 20 s and restarted', async () => {
    const recorder = startRecorder();
    const servers = await startServers(3, recorder);
    const urls = servers.map(({ url }) => url);
    recorder.recordTable(urls);
    keepIdleReplicas(urls, IDLE_REPLICAS, recorder);
    for (let n = 0; n < 3; n++) await startWorker(urls, recorder);
    const isComplete = createFleetCheck(servers, IDLE_REPLICAS + 3);
    await until('all servers know the fleet', isComplete, 30_000);
    const { lookups, calls } = startLoad(urls);
    await until('calls are made', () => calls.getCount() > 50);
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGSTOP'] as const) {
      for (const server of servers) {
        if (signal === 'SIGSTOP') {
          await server.freeze(20_000);
        } else {
          await server.stop(signal);
          await sleep(2000);
          await server.start();
        }
        // The backoff of the registrants grows from one outage to the next, because these follow in less than 30 s.
        await measureTimeUntil(`the fleet is complete after ${signal}`, 40_000, isComplete);
      }
    }
    await Promise.all([lookups.stop(), calls.stop()]);
    console.info(`measured: ${lookups.getCount()} lookups, ${calls.getCount()} calls`);
    expect(lookups.failures).toEqual([]);
    expect(calls.failures).toEqual([]);
    await expectNoViolations('servers killed, stopped and frozen', recorder);
  }, 600_000);

  it('lose no call while workers are restarted one after the other and a server is down', async () => {
    const recorder = startRecorder();
    const servers = await startServers(3, recorder);
    const urls = servers.map(({ url }) => url);
    recorder.recordTable(urls);
    const workers = [];
    for (let n = 0; n < 3; n++) workers.push(await startWorker(urls, recorder));
    const isComplete = createFleetCheck(servers.slice(1), 3);
    await until('the servers know the workers', isComplete);
    const client = new Client({ server: urls, capability: { type: 'double' } });
    cleanups.push(() => client.close());
    const calls = repeatRequests(100, async () => {
      await client.infer('double', { x: [21] }, { retryOnFailure: false });
    });
    await servers[0]?.stop('SIGKILL');
    for (const worker of workers) {
      await worker.drain();
      await startWorker(urls, recorder);
      await until('the new worker is registered', isComplete);
    }
    await calls.stop();
    console.info(`measured: ${calls.getCount()} calls without retries`);
    expect(calls.failures).toEqual([]);
    // A client's table keeps a replica that only one of two servers removes.
    const curls = await Promise.all(servers.slice(1).map(({ url }) => startCurlRegistrant(url, 'one-way')));
    await sleep(2000);
    await curls[0]?.stop('SIGKILL');
    await sleep(2000);
    // It keeps all replicas when all servers have lost their lists.
    await Promise.all(servers.slice(1).map((server) => server.stop('SIGKILL')));
    await Promise.all(servers.map((server) => server.start()));
    await measureTimeUntil('the fleet is complete after all servers were killed', 40_000, createFleetCheck(servers, 3));
    await expectNoViolations('workers restarted one after the other', recorder);
  });

  it('stop routing to a replica within 1 s after it has closed its connections', async () => {
    const servers = await startServers(3);
    const urls = servers.map(({ url }) => url);
    const api = createApiClient(urls);
    cleanups.push(() => api.close());
    const keeper = keepRegistered(api, replica('r1', { type: 'chat' }));
    const findAll = () => Promise.all(servers.map(({ process }) => process.fetchRoute()));
    await until('all servers route to it', async () => (await findAll()).every((id) => id === 'r1'));
    await keeper.stop();
    await measureTimeUntil('no server routes to a replica that has closed', 1000, async () =>
      (await findAll()).every((id) => id === undefined),
    );
  });
});

describe.skipIf(findNetworkProblem() !== undefined)('a network partition', () => {
  it('between registrants and one of two servers costs no lookup, and the replicas are back after it', async () => {
    const network = createNetwork();
    cleanups.push(() => network.remove());
    const far = network.addHost();
    // The near server, the registrants and the callers are in the middle, and the far server is on a host.
    const near = await startServer({ network });
    const farServe = ['serve', '--host', '0.0.0.0', '--port', '8080', '--allowed-host', far.address];
    const farServer = start(farServe, { through: far.through });
    await farServer.waitForOutput(/listening on/);
    const urls = [near.url, `http://${far.address}:8080`];
    const servers = urls.flatMap((url) => ['--server', url]);
    for (const id of ['r1', 'r2']) {
      const args = ['register', '--id', id, '--endpoint', 'gpu.test:1', '--cap', 'type=chat', ...servers];
      const registrant = start(args, { through: network.through });
      await until('it is registered with both', () => registrant.stdout().match(/^registered/gm)?.length === 2);
    }
    const listAt = async (url: string): Promise<string> => {
      const { stdout } = await start(['registry', '--json', '--server', url], { through: network.through }).ended;
      return stdout;
    };
    const route = async (): Promise<number | null> =>
      (await start(['route', 'type=chat', '--wait', '0s', ...servers], { through: network.through }).ended).code;
    far.setPacketLoss(100);
    await assertHolds('each lookup finds a replica', 15_000, async () => (await route()) === 0);
    far.setPacketLoss(0);
    const farHasBoth = async (): Promise<boolean> => {
      const list = await listAt(urls[1] as string);
      return list.includes('"r1"') && list.includes('"r2"');
    };
    await measureTimeUntil('the far server lists both replicas again', 15_000, farHasBoth);
    expect(readRemovals(near)).toEqual([]);
  });
});
