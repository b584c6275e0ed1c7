import { networkInterfaces } from 'node:os';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { startLoadBalancer } from '../interop/fronted-server.js';
import { type Running, start, stopAll } from '../support/binary.js';
import { findEtcdProblem } from '../support/etcd-process.js';
import { assertHolds, type ServerProcess, startCurlRegistrant, startServer } from '../support/fleet.js';
import { startSharing } from '../support/sharing-servers.js';
import { until } from '../support/until.js';

const problem = findEtcdProblem();
if (problem !== undefined) console.warn(`skipped: ${problem}`);

/** Number of registrants of each kind. */
const REGISTRANTS = 3;

const TTL_S = 9;

const SERVER_TOKENS = {
  ANYSERVE_REGISTER_TOKEN: 'a-register-token-of-the-test',
  ANYSERVE_PEER_TOKEN: 'a-peer-token-of-the-test',
};
const TOKEN = { ANYSERVE_TOKEN: SERVER_TOKENS.ANYSERVE_REGISTER_TOKEN };
const AUTHORIZATION = `Bearer ${TOKEN.ANYSERVE_TOKEN}`;

afterAll(stopAll);

/** Returns an address of this machine that is not on loopback: registrants that use it don't ask owners on loopback. */
function findExternalAddress(): string {
  const addresses = Object.values(networkInterfaces()).flat();
  const found = addresses.find((one) => one?.family === 'IPv4' && !one.internal);
  if (!found) throw new Error('this machine has only loopback addresses');
  return found.address;
}

/** Starts an etcd, three API servers that share a registry in it, and a load balancer in front of them. */
async function startFleet(context: TestContext) {
  const { args, servers } = await startSharing(3, context, { env: SERVER_TOKENS });
  const url = await startLoadBalancer(servers);
  return { args, servers: servers as [ServerProcess, ServerProcess, ServerProcess], url };
}

type Fleet = Awaited<ReturnType<typeof startFleet>>;

/** Starts `anyserve register` processes: some that reach the owners of their leases, and some that reach only the load balancer. */
async function startRegistrants({ url }: Fleet): Promise<Running[]> {
  const { port } = new URL(url);
  const servers = [url, `http://${findExternalAddress()}:${port}`];
  const registrants = servers.flatMap((server, kind) =>
    Array.from({ length: REGISTRANTS }, (_, n) => {
      const id = `${kind === 0 ? 'direct' : 'behind'}${n}`;
      return start(['register', '--id', id, '--endpoint', 'localhost:1', '--cap', 'type=chat', '--server', server], {
        env: TOKEN,
      });
    }),
  );
  await Promise.all(registrants.map((registrant) => registrant.waitForOutput(/^registered /m)));
  return registrants;
}

/** A replica that curl has registered at one server, and renews through the load balancer. */
interface CurlReplica {
  /** The URL of the server that has the lease. */
  readonly owner: string;
  /** The responses to its renewals. */
  readonly statuses: number[];
}

/** Registers a replica through the load balancer with curl, and renews it there every second. */
async function renewWithCurl({ url }: Fleet, id: string, { onTestFinished }: TestContext): Promise<CurlReplica> {
  const registrant = await startCurlRegistrant(url, id, {
    args: ['-i', '-H', `authorization: ${AUTHORIZATION}`],
    body: { ttl: TTL_S },
  });
  const getHeader = (name: string): string => new RegExp(`${name}: (\\S+)`).exec(registrant.stdout())?.[1] ?? '';
  const lease = getHeader('x-anyserve-lease');
  const statuses: number[] = [];
  const renew = async (): Promise<void> => {
    const signal = AbortSignal.timeout(TTL_S * 1000);
    const response = await fetch(`${url}/leases/${lease}`, {
      method: 'PUT',
      headers: { authorization: AUTHORIZATION },
      signal,
    }).catch(() => undefined);
    statuses.push(response?.status ?? 0);
  };
  const timer = setInterval(() => void renew(), 1000);
  onTestFinished(() => clearInterval(timer));
  return { owner: getHeader('x-anyserve-owner'), statuses };
}

function renewAllWithCurl(fleet: Fleet, context: TestContext): Promise<CurlReplica[]> {
  return Promise.all(Array.from({ length: REGISTRANTS }, (_, n) => renewWithCurl(fleet, `curl${n}`, context)));
}

/** Returns how often each registrant was registered. */
function countRegistrations(registrants: readonly Running[]): number[] {
  return registrants.map((registrant) => registrant.stdout().match(/^registered /gm)?.length ?? 0);
}

/** Returns whether a server lists each of these numbers of replicas, and routes to each. */
async function listsAll(server: ServerProcess, kinds: readonly string[]): Promise<boolean> {
  const ids = await server.listReplicaIds();
  return kinds.every((kind) =>
    Array.from({ length: REGISTRANTS }, (_, n) => `${kind}${n}`).every((id) => ids.includes(id)),
  );
}

describe.skipIf(problem !== undefined).concurrent('three API servers of one registry behind one address', () => {
  it('keep every lease over several TTLs', async (context) => {
    const fleet = await startFleet(context);
    const registrants = await startRegistrants(fleet);
    const curls = await renewAllWithCurl(fleet, context);
    await assertHolds('all are listed by each server', 4 * TTL_S * 1000, async () => {
      const lists = fleet.servers.map((server) => listsAll(server, ['direct', 'behind', 'curl']));
      return (await Promise.all(lists)).every(Boolean);
    });
    expect(countRegistrations(registrants)).toEqual(registrants.map(() => 1));
    for (const { statuses } of curls) expect(new Set(statuses)).toEqual(new Set([200]));
    for (const { running } of fleet.servers) expect(running.stderr()).not.toMatch(/removed|forward/);
  });

  it('keep every replica while one of them restarts', async (context) => {
    const fleet = await startFleet(context);
    const [restarted, ...others] = fleet.servers;
    const registrants = await startRegistrants(fleet);
    const curls = await renewAllWithCurl(fleet, context);
    const port = Number(new URL(restarted.url).port);
    const restart = async (): Promise<void> => {
      await restarted.running.stop('SIGTERM');
      const again = await startServer({ args: fleet.args, port, env: SERVER_TOKENS });
      context.onTestFinished(() => void again.running.stop('SIGKILL'));
    };
    const restarting = restart();
    await assertHolds('all registrants are listed by the others', 4 * TTL_S * 1000, async () => {
      const lists = others.map((server) => listsAll(server, ['direct', 'behind']));
      return (await Promise.all(lists)).every(Boolean);
    });
    await restarting;
    // Those of the restarted server have moved once, and the others not at all.
    expect(Math.max(...countRegistrations(registrants))).toBeLessThanOrEqual(2);
    for (const { owner, statuses } of curls) {
      if (owner !== restarted.url) expect(statuses).not.toContain(404);
    }
  });

  it('keep every replica while one of them is frozen, and never say that its leases have ended', async (context) => {
    const fleet = await startFleet(context);
    const [frozen, ...others] = fleet.servers;
    const registrants = await startRegistrants(fleet);
    const curls = await renewAllWithCurl(fleet, context);
    frozen.running.child.kill('SIGSTOP');
    const frozenForMs = 20_000;
    await assertHolds('all are listed by the others', frozenForMs, async () => {
      const lists = others.map((server) => listsAll(server, ['direct', 'behind', 'curl']));
      return (await Promise.all(lists)).every(Boolean);
    });
    for (const { owner, statuses } of curls) {
      expect(statuses).not.toContain(404);
      if (owner === frozen.url) expect(statuses).toContain(503);
    }
    frozen.running.child.kill('SIGCONT');
    await assertHolds('all registrants are listed by the others', 2 * TTL_S * 1000, async () => {
      const lists = others.map((server) => listsAll(server, ['direct', 'behind']));
      return (await Promise.all(lists)).every(Boolean);
    });
    expect(Math.max(...countRegistrations(registrants))).toBeLessThanOrEqual(2);
  });
});

describe('two independent API servers behind one address', () => {
  it.for([
    ['reaches them', '127.0.0.1'],
    ['reaches only the address', findExternalAddress()],
  ])('are reported by a registrant that %s, and it keeps its lease', async ([, address]) => {
    const servers = await Promise.all([startServer(), startServer()]);
    const url = (await startLoadBalancer(servers)).replace('127.0.0.1', address as string);
    const args = ['--id', 'r1', '--endpoint', 'localhost:1', '--cap', 'type=chat', '--server', url];
    const registrant = start(['register', ...args]);
    await registrant.waitForOutput(/^registered r1/m);
    const message = `misrouted r1: two independent API servers answer at ${url}; list them one by one`;
    await until('it reports the problem', () => registrant.stdout().includes(message), 30_000);
    const isListed = async (): Promise<boolean> =>
      (await Promise.all(servers.map((server) => server.listReplicaIds()))).flat().includes('r1');
    await assertHolds('it is registered with one of them', 3 * TTL_S * 1000, isListed);
    expect(registrant.stdout().match(/^(registered|misrouted)/gm)).toEqual(['registered', 'misrouted']);
    await Promise.all([registrant, ...servers.map(({ running }) => running)].map((one) => one.stop('SIGKILL')));
  });
});
