import { afterEach, describe, expect, it } from 'vitest';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { App, Client } from '../../src/index.js';
import { clock, ids, random } from '../../src/system.js';
import type { Worker } from '../../src/worker/worker-settings.js';
import { createApiClient } from '../support/api-client.js';
import { start, stopAll } from '../support/binary.js';
import {
  assertHolds,
  measureTimeUntil,
  readRemovals,
  type ServerProcess,
  startCurlRegistrant,
  startServer,
} from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';
import { createNetwork, findNetworkProblem } from '../support/netns.js';
import { query, replica } from '../support/replicas.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

/** Number of replicas of the fleet that take no calls. */
const IDLE_REPLICAS = 1000;

/** An API server that can be restarted at the same address. */
class RestartableServer {
  readonly url: string;
  readonly #port: number;
  #process: ServerProcess | undefined;

  constructor(port: number) {
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  get process(): ServerProcess {
    return this.#process as ServerProcess;
  }

  async start(): Promise<void> {
    this.#process = await startServer({ port: this.#port, env: { ANYSERVE_WARMING: '10s' } });
  }
}

async function startServers(count: number): Promise<RestartableServer[]> {
  const servers: RestartableServer[] = [];
  for (let n = 0; n < count; n++) servers.push(new RestartableServer(await findFreePort()));
  await Promise.all(servers.map((server) => server.start()));
  return servers;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Keeps replicas of the type `idle` registered with all servers. */
function keepIdleReplicas(urls: readonly string[], count: number): void {
  const api = createApiClient(urls);
  const keepers = Array.from({ length: count }, (_, n) => {
    const options = { api, replica: replica(`idle${n}`, { type: 'idle' }), instanceId: ids.createInstanceId() };
    return new LeaseKeeper({ ...options, clock, random });
  });
  for (const keeper of keepers) keeper.run().catch(() => {});
  cleanups.push(async () => {
    await Promise.all(keepers.map((keeper) => keeper.stop()));
    api.close();
  });
}

/** Starts a worker with the model `double`, registered with all servers. */
async function startWorker(urls: readonly string[]): Promise<Worker> {
  const app = new App().capability({ type: 'double' }, { inputs: { x: 'INT32' } }, ({ x }) => ({
    y: Array.from(x.data, (value) => value * 2),
  }));
  const worker = await startTestWorker(app, { servers: urls, drainDelayMs: 1000 });
  cleanups.push(() => worker.stop());
  return worker;
}

/** Repeats a request at a rate until it is stopped, and counts the failures. Requests that a late timer missed are made then. */
function repeat(perSecond: number, request: () => Promise<void>) {
  const failures: string[] = [];
  const running = new Set<Promise<void>>();
  const startedAtMs = clock.nowMs();
  let count = 0;
  const start = (): void => {
    count++;
    const one = request().catch((error) => void failures.push(String(error.message ?? error)));
    running.add(one);
    void one.finally(() => running.delete(one));
  };
  const timer = setInterval(() => {
    const due = Math.floor(((clock.nowMs() - startedAtMs) / 1000) * perSecond);
    while (count < due) start();
  }, 1000 / perSecond);
  const stop = async (): Promise<void> => {
    clearInterval(timer);
    await Promise.all(running);
  };
  cleanups.push(stop);
  return { failures, stop, getCount: () => count };
}

/** Starts lookups and calls through all servers. */
function startLoad(urls: readonly string[]) {
  const api = createApiClient(urls);
  const client = new Client({ server: urls, capability: { type: 'double' } });
  cleanups.push(
    () => api.close(),
    () => client.close(),
  );
  const lookups = repeat(200, async () => {
    const found = await api.route(query({ type: 'idle' }));
    if (found.kind === 'none') throw new Error('no match for replicas that are alive');
  });
  const calls = repeat(100, async () => {
    const { outputs } = await client.infer('double', { x: [21] });
    if (outputs['y']?.data[0] !== 42) throw new Error(`wrong result: ${JSON.stringify(outputs)}`);
  });
  return { lookups, calls };
}

async function countReplicas(server: RestartableServer): Promise<number> {
  return (await server.process.listReplicaIds()).length;
}

/** Returns a condition that holds when each server lists this many replicas. It asks at most four times a second. */
function createFleetCheck(servers: readonly RestartableServer[], count: number): () => Promise<boolean> {
  return async () => {
    await sleep(250);
    for (const server of servers) if ((await countReplicas(server)) !== count) return false;
    return true;
  };
}

describe('three independent API servers', () => {
  it('lose no lookup and no call while each in turn is killed, stopped, frozen for 20 s and restarted', async () => {
    const servers = await startServers(3);
    const urls = servers.map(({ url }) => url);
    keepIdleReplicas(urls, IDLE_REPLICAS);
    for (let n = 0; n < 3; n++) await startWorker(urls);
    const isComplete = createFleetCheck(servers, IDLE_REPLICAS + 3);
    await until('all servers know the fleet', isComplete, 30_000);
    const { lookups, calls } = startLoad(urls);
    await until('calls are made', () => calls.getCount() > 50);
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGSTOP'] as const) {
      for (const server of servers) {
        if (signal === 'SIGSTOP') {
          server.process.running.child.kill('SIGSTOP');
          await sleep(20_000);
          server.process.running.child.kill('SIGCONT');
        } else {
          await server.process.running.stop(signal);
          await sleep(2000);
          await server.start();
        }
        // The backoff of the registrants grows from one outage to the next, because these follow in less than 30 s.
        await measureTimeUntil(`the fleet is complete after ${signal}`, 20_000, isComplete);
      }
    }
    await Promise.all([lookups.stop(), calls.stop()]);
    console.info(`measured: ${lookups.getCount()} lookups, ${calls.getCount()} calls`);
    expect(lookups.failures).toEqual([]);
    expect(calls.failures).toEqual([]);
  }, 300_000);

  it('lose no call while workers are restarted one after the other and a server is down', async () => {
    const servers = await startServers(3);
    const urls = servers.map(({ url }) => url);
    const workers: Worker[] = [];
    for (let n = 0; n < 3; n++) workers.push(await startWorker(urls));
    const isComplete = createFleetCheck(servers.slice(1), 3);
    await until('the servers know the workers', isComplete);
    const client = new Client({ server: urls, capability: { type: 'double' } });
    cleanups.push(() => client.close());
    const calls = repeat(100, async () => {
      await client.infer('double', { x: [21] }, { retryOnFailure: false });
    });
    await servers[0]?.process.running.stop('SIGKILL');
    for (const worker of workers) {
      await worker.drain();
      await startWorker(urls);
      await until('the new worker is registered', isComplete);
    }
    await calls.stop();
    console.info(`measured: ${calls.getCount()} calls without retries`);
    expect(calls.failures).toEqual([]);
  }, 60_000);

  it('stop routing to a replica within 1 s after it has closed its connections', async () => {
    const servers = await startServers(3);
    const urls = servers.map(({ url }) => url);
    const api = createApiClient(urls);
    cleanups.push(() => api.close());
    const options = { api, replica: replica('r1', { type: 'chat' }), instanceId: ids.createInstanceId() };
    const keeper = new LeaseKeeper({ ...options, clock, random });
    keeper.run().catch(() => {});
    const findAll = () => Promise.all(servers.map(({ process }) => process.fetchRoute()));
    await until('all servers route to it', async () => (await findAll()).every((id) => id === 'r1'));
    await keeper.stop();
    await measureTimeUntil('no server routes to a replica that has closed', 1000, async () =>
      (await findAll()).every((id) => id === undefined),
    );
  });
});

describe('two independent API servers', () => {
  it('end with the same process at both after 100 races of two processes for one id', async () => {
    const servers = await startServers(2);
    const urls = servers.map(({ url }) => url);
    const apis = [createApiClient(urls), createApiClient([...urls].reverse())];
    cleanups.push(() => apis.forEach((api) => void api.close()));
    for (let round = 0; round < 10; round++) {
      const races = Array.from({ length: 10 }, async (_, n) => {
        const keepers = apis.map(
          (api) =>
            new LeaseKeeper({
              api,
              replica: replica(`race${round}-${n}`, { type: 'race' }),
              instanceId: ids.createInstanceId(),
              clock,
              random,
            }),
        );
        for (const keeper of keepers) keeper.run().catch(() => {});
        cleanups.push(() => Promise.all(keepers.map((keeper) => keeper.stop())));
      });
      await Promise.all(races);
    }
    const listInstances = async (server: RestartableServer): Promise<Map<string, string>> => {
      const { body } = await server.process.fetchPath('/replicas');
      const { replicas } = JSON.parse(body) as {
        replicas: { replica_id: string; instance?: { id: string } }[];
      };
      return new Map(replicas.map(({ replica_id, instance }) => [replica_id, instance?.id ?? '']));
    };
    await measureTimeUntil('both servers have the same process for all 100 ids', 30_000, async () => {
      const [a = new Map(), b = new Map()] = await Promise.all(servers.map(listInstances));
      return a.size === 100 && b.size === 100 && [...a].every(([id, instance]) => b.get(id) === instance);
    });
  }, 120_000);

  it('keep a replica that registers again just when its older connections close, 1,000 times', async () => {
    const servers = await startServers(2);
    const api = createApiClient(servers.map(({ url }) => url));
    cleanups.push(() => api.close());
    const capabilities = replica('r1', { type: 'chat' });
    const terms = { ttlMs: 9000, state: 'ready' } as const;
    const startedMs = clock.epochMs();
    const instanceId = ids.createInstanceId();
    const { signal } = new AbortController();
    for (const server of await api.servers.get()) {
      let seq = 0;
      let previous = await api.leases.open(server, capabilities, terms, signal);
      for (let n = 0; n < 1000; n++) {
        const instance = { id: instanceId, startedMs, seq: ++seq };
        const opening = api.leases.open(server, capabilities, { ...terms, instance }, signal);
        previous.body.destroy();
        previous = await opening;
      }
      cleanups.push(() => previous.body.destroy());
    }
    for (const { process } of servers) expect(await process.fetchRoute()).toBe('r1');
    await sleep(500);
    for (const { process } of servers) expect(await process.fetchRoute()).toBe('r1');
  }, 120_000);
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
  }, 90_000);
});

describe('a registrant that shows no instance', () => {
  it('takes an id over at the server where it registers, and the other process gives it up at all servers', async () => {
    const servers = await startServers(2);
    const [a, b] = servers as [RestartableServer, RestartableServer];
    const api = createApiClient([a.url, b.url]);
    const options = { api, replica: replica('r1', { type: 'chat' }), instanceId: ids.createInstanceId() };
    const keeper = new LeaseKeeper({ ...options, clock, random });
    keeper.run().catch(() => {});
    cleanups.push(
      () => api.close(),
      () => keeper.stop(),
    );
    await until('both list it', async () => (await countReplicas(a)) === 1 && (await countReplicas(b)) === 1);
    const curl = await startCurlRegistrant(a.url, 'r1');
    await until('the other server has removed it', async () => (await countReplicas(b)) === 0);
    expect(readRemovals(a.process).at(-1)).toContain('superseded');
    await curl.stop();
    await until(
      'it is back at both',
      async () => (await countReplicas(a)) === 1 && (await countReplicas(b)) === 1,
      15_000,
    );
  }, 60_000);
});
