import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import type { ApiClient } from '../../src/client/api-client.js';
import { createApiClient } from '../support/api-client.js';
import { stopAll } from '../support/binary.js';
import { type EtcdProcess, findEtcdProblem } from '../support/etcd-process.js';
import { readRemovals, type ServerProcess, startCurlRegistrant } from '../support/fleet.js';
import { repeatRequests } from '../support/repeated-requests.js';
import { query, replica } from '../support/replicas.js';
import { keepRegistered } from '../support/restartable-server.js';
import { startSharing } from '../support/sharing-servers.js';
import { until } from '../support/until.js';

const problem = findEtcdProblem();
if (problem !== undefined) console.warn(`skipped: ${problem}`);

const REPLICAS = 50;

afterAll(stopAll);

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Keeps replicas of the type `chat` registered with the first of these servers that responds. */
async function keepReplicas(servers: readonly ServerProcess[], { onTestFinished }: TestContext): Promise<void> {
  const api = createApiClient(servers.map(({ url }) => url));
  const keepers = Array.from({ length: REPLICAS }, (_, n) =>
    keepRegistered(api, replica(`kept${n}`, { type: 'chat' })),
  );
  onTestFinished(async () => {
    await Promise.all(keepers.map((keeper) => keeper.stop()));
    api.close();
  });
  await until('all servers list all replicas', async () => {
    const lists = await Promise.all(servers.map((server) => server.listReplicaIds()));
    return lists.every((ids) => ids.length === REPLICAS);
  });
}

/** Asks a server for its replicas again and again. Returns a function that ends this and returns the lowest number of replicas. */
function watchCount(server: ServerProcess, { onTestFinished }: TestContext): () => Promise<number> {
  let lowest = Number.POSITIVE_INFINITY;
  const requests = repeatRequests(20, async () => {
    const response = await fetch(`${server.url}/registry`);
    const { replicas } = (await response.json()) as { replicas: unknown[] };
    lowest = Math.min(lowest, replicas.length);
  });
  onTestFinished(() => void requests.stop());
  return async () => {
    await requests.stop();
    return lowest;
  };
}

/** Returns the removals that a server logged, except those of replicas that registered again at once. */
function readLosses(server: ServerProcess): string[] {
  return readRemovals(server).filter((line) => !line.includes(': reregistered'));
}

/** Writes to an etcd. Returns whether it has reached its quota. */
async function fillEtcd(etcd: EtcdProcess): Promise<boolean> {
  try {
    await etcd.control('put', 'filler', 'x'.repeat(100_000));
    return false;
  } catch (error) {
    return String(error).includes('database space exceeded');
  }
}

/** Makes space in an etcd that has reached its quota, as its documentation describes. */
async function emptyEtcd(etcd: EtcdProcess): Promise<void> {
  const revision = /"revision":(\d+)/.exec(await etcd.control('get', 'filler', '-w', 'json'))?.[1] ?? '';
  await etcd.control('compact', revision);
  await etcd.control('defrag');
  await etcd.control('alarm', 'disarm');
}

describe.skipIf(problem !== undefined)('two API servers that share a registry in etcd', () => {
  it('route to a replica of the other within 250 ms (p99)', async (context) => {
    const { servers } = await startSharing(2, context);
    const [first, second] = servers.map(({ url }) => createApiClient(url)) as [ApiClient, ApiClient];
    const measureP99 = async (): Promise<number> => {
      const delays: number[] = [];
      for (let n = 0; n < 200; n++) {
        const keeper = keepRegistered(first, replica(`r${n}`, { type: `t${n}` }));
        const isRoutable = async (api: ApiClient): Promise<boolean> =>
          (await api.route(query({ type: `t${n}` }))).kind !== 'none';
        await until('its server routes to it', () => isRoutable(first));
        const beganAtMs = performance.now();
        await until('the other server routes to it', () => isRoutable(second));
        delays.push(performance.now() - beganAtMs);
        await keeper.stop();
        await until('the other server has removed it', async () => !(await isRoutable(second)));
      }
      return Math.round(delays.sort((a, b) => a - b)[197] ?? Number.NaN);
    };
    // Other processes of the machine can only make it slower, so the best of three counts.
    const measured = [await measureP99()];
    while (Math.min(...measured) >= 250 && measured.length < 3) measured.push(await measureP99());
    first.close();
    second.close();
    console.info(`measured: a registration is routable at another server after ${measured} ms (p99)`);
    expect(Math.min(...measured)).toBeLessThan(250);
  });
});

// These tests wait for most of the time, so they run at the same time.
describe.skipIf(problem !== undefined).concurrent('API servers that share a registry in etcd', () => {
  it('keep the replicas of a server that is killed, until they have registered at another', async (context) => {
    const { servers } = await startSharing(2, context);
    const [killed, other] = servers as [ServerProcess, ServerProcess];
    await keepReplicas(servers, context);
    const stopCount = watchCount(other, context);
    await killed.running.stop('SIGKILL');
    await until(
      'the other server has granted leases to all',
      async () => {
        const { replicas } = JSON.parse((await other.fetchPath('/replicas')).body) as { replicas: { peer: unknown }[] };
        return replicas.length === REPLICAS && replicas.every(({ peer }) => peer !== null);
      },
      10_000,
    );
    // Longer than the lease of the killed server, and the time for which its replicas would stay.
    await sleep(28_000);
    expect(await stopCount()).toBe(REPLICAS);
    expect(readLosses(other)).toEqual([]);
  });

  it('say how old their copy is, and refuse requests for newer data, while etcd is frozen', async (context) => {
    const { etcd, servers } = await startSharing(1, context);
    const [{ url }] = servers as [ServerProcess];
    const ask = async (maxMs: number): Promise<[number, number]> => {
      const response = await fetch(`${url}/registry`, { headers: { 'x-anyserve-max-staleness-ms': String(maxMs) } });
      return [response.status, Number(response.headers.get('x-anyserve-staleness-ms'))];
    };
    const isUpToDate = async (): Promise<boolean> => (await ask(1500))[0] === 200;
    await until('its copy is up to date', isUpToDate);
    etcd.pause();
    await until('it refuses', async () => (await ask(3000))[0] === 503);
    expect(await ask(60_000)).toEqual([200, expect.toSatisfy((ms: number) => ms > 3000)]);
    etcd.resume();
    await until('its copy is up to date', isUpToDate, 5000);
  });

  it.for([
    ['killed for 20 s', 'kill', 'start'],
    ['frozen for 20 s, longer than their leases', 'pause', 'resume'],
  ] as const)(
    'lose no replica while etcd is %s, and learn of new ones after that',
    async ([, stop, resume], context) => {
      const { etcd, servers } = await startSharing(3, context);
      const [one, other] = servers as [ServerProcess, ServerProcess];
      await keepReplicas(servers, context);
      const stopCounts = servers.map((server) => watchCount(server, context));
      await etcd[stop]();
      await startCurlRegistrant(other.url, 'curl');
      await until('it says so', async () => (await one.fetchPath('/readyz')).body.includes('"degraded"'));
      await sleep(20_000);
      expect(await other.listReplicaIds()).toContain('curl');
      await etcd[resume]();
      const haveAll = async (): Promise<boolean> => {
        const lists = await Promise.all(servers.map((server) => server.listReplicaIds()));
        return lists.every((ids) => ids.includes('curl'));
      };
      await until('all servers list the new replica', haveAll, 5000);
      await sleep(12_000);
      for (const stopCount of stopCounts) expect([REPLICAS, REPLICAS + 1]).toContain(await stopCount());
      for (const server of servers) expect(readLosses(server)).toEqual([]);
      await until('it is ready', async () => (await one.fetchPath('/readyz')).body === '{"status":"ready"}');
    },
  );

  it('keep their replicas while etcd is full, and learn of new ones when it has space again', async (context) => {
    const { etcd, servers } = await startSharing(2, context, { etcdArgs: ['--quota-backend-bytes=4000000'] });
    const [one, other] = servers as [ServerProcess, ServerProcess];
    await keepReplicas(servers, context);
    const stopCounts = servers.map((server) => watchCount(server, context));
    await until('etcd is full', () => fillEtcd(etcd), 60_000);
    const registrant = await startCurlRegistrant(other.url, 'curl', { args: ['-i'], body: { ttl: 60 } });
    await until('it says so', async () => (await other.fetchPath('/readyz')).body.includes('space exceeded'));
    // Longer than the leases, which etcd renews all the same.
    await sleep(20_000);
    expect(await other.listReplicaIds()).toContain('curl');
    expect(await one.listReplicaIds()).not.toContain('curl');
    const lease = /x-anyserve-lease: (\S+)/.exec(registrant.stdout())?.[1];
    for (const { url } of servers) expect((await fetch(`${url}/leases/${lease}`, { method: 'PUT' })).status).toBe(200);
    await emptyEtcd(etcd);
    await until(
      'the other server lists the new replica',
      async () => (await one.listReplicaIds()).includes('curl'),
      5000,
    );
    await until('all are ready', async () => {
      const responses = await Promise.all(servers.map((server) => server.fetchPath('/readyz')));
      return responses.every(({ body }) => body === '{"status":"ready"}');
    });
    for (const stopCount of stopCounts) expect([REPLICAS, REPLICAS + 1]).toContain(await stopCount());
    for (const server of servers) expect(readLosses(server)).toEqual([]);
  });
});
