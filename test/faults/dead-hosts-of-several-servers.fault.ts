import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { type Running, start, stopAll } from '../support/binary.js';
import {
  assertHolds,
  getServerUrl,
  measureTimeAtEach,
  type ServerProcess,
  startCurlRegistrant,
  startServer,
} from '../support/fleet.js';
import { createNetwork, findNetworkProblem, type NetworkHost } from '../support/netns.js';
import { until } from '../support/until.js';

/** Documented limit for a host that vanishes, and for a process that freezes. */
const MAX_REMOVAL_MS = 10_000;

/** Documented limit for a process that is killed. */
const MAX_CLOSED_MS = 1000;

/** Documented limit for a process that continues. */
const MAX_RETURN_MS = 4000;

const PORTS = [8080, 8081, 8082];

/** The replicas that a fault must not affect. */
const STAYING = ['curl-stays', 'stays'];

/** The replicas on the host for the fault. */
const AFFECTED = ['curl', 'worker'];

const reason = findNetworkProblem();
if (reason) console.warn(`tests that need test networks are skipped: ${reason}`);

afterAll(stopAll);

/** Three API servers at the hub, and two hosts, each with a two-way lease and a one-way lease at every server. */
interface Scene {
  readonly servers: readonly ServerProcess[];
  /** The host for the fault, with a worker and a replica that curl registers, once for each server. */
  readonly host: NetworkHost;
  readonly worker: Running;
  readonly curls: readonly Running[];
}

async function createScene({ onTestFinished }: TestContext): Promise<Scene> {
  const network = createNetwork();
  onTestFinished(() => network.remove());
  const servers = await Promise.all(PORTS.map((port) => startServer({ network, port })));
  const [host, other] = [network.addHost(), network.addHost()];
  const worker = start(
    ['worker', '--backend', 'echo', '--id', 'worker', '--host', host.address, '--port', '50051', ...listArgs(host)],
    host,
  );
  const curls = await registerWithCurl(host, 'curl');
  start(['register', '--id', 'stays', '--endpoint', 'stays.test:1', ...listArgs(other)], other);
  await registerWithCurl(other, 'curl-stays');
  const scene = { servers, host, worker, curls };
  await Promise.all(servers.map((server) => until('all are listed', () => lists(server, [...AFFECTED, ...STAYING]))));
  return scene;
}

/** Returns the options of a registrant on a host. */
function listArgs(host: NetworkHost): string[] {
  return ['--cap', 'type=chat', ...PORTS.flatMap((port) => ['--server', getServerUrl(host, port)])];
}

/** Registers a replica at every server, each time with a one-way lease. */
function registerWithCurl(host: NetworkHost, id: string): Promise<Running[]> {
  return Promise.all(PORTS.map((port) => startCurlRegistrant(getServerUrl(host, port), id, { through: host.through })));
}

/** Returns whether a server returns exactly these replicas to callers. */
async function lists(server: ServerProcess, ids: readonly string[]): Promise<boolean> {
  return (await server.listReplicaIds()).sort().join() === [...ids].sort().join();
}

/** Waits until no server returns the affected replicas, and expects that they stay away, and that the others were never removed. */
async function expectRemoval(what: string, limitMs: number, { servers }: Scene, staying = STAYING): Promise<void> {
  await measureTimeAtEach(what, limitMs, servers, (server) => lists(server, staying));
  await assertHolds('the other replicas stay, and get the calls', 2000, async () => {
    const found = await Promise.all(servers.map((server) => server.fetchRoute()));
    const listed = await Promise.all(servers.map((server) => lists(server, staying)));
    return listed.every(Boolean) && found.every((id) => id !== undefined && staying.includes(id));
  });
  for (const { running } of servers) expect(running.stderr()).not.toMatch(/removed "(curl-)?stays"/);
}

describe.skipIf(reason !== undefined)('three API servers', () => {
  it.for<[string, (host: NetworkHost) => void]>([
    ['its cable is pulled', (host) => host.unplug()],
    ['every packet to and from it is lost', (host) => host.setPacketLoss(100)],
  ])('return no replica of a host 10 s after %s', async ([what, cut], context) => {
    const scene = await createScene(context);
    cut(scene.host);
    await expectRemoval(`no server returns the replicas of a host when ${what}`, MAX_REMOVAL_MS, scene);
  });

  it('do not return a worker 10 s after it was stopped, and return it within 4 s when it continues', async (context) => {
    const scene = await createScene(context);
    const rest = ['curl', ...STAYING];
    for (let round = 0; round < 2; round++) {
      scene.worker.child.kill('SIGSTOP');
      await expectRemoval('no server returns a stopped worker', MAX_REMOVAL_MS, scene, rest);
      scene.worker.child.kill('SIGCONT');
      await measureTimeAtEach('all servers return the worker', MAX_RETURN_MS, scene.servers, (server) =>
        lists(server, [...AFFECTED, ...STAYING]),
      );
    }
  });

  it('do not return a replica 1 s after its process was killed', async (context) => {
    const scene = await createScene(context);
    scene.worker.child.kill('SIGKILL');
    await expectRemoval('no server returns a killed worker', MAX_CLOSED_MS, scene, ['curl', ...STAYING]);
    for (const { child } of scene.curls) child.kill('SIGKILL');
    await expectRemoval('no server returns a killed registrant with one-way leases', MAX_CLOSED_MS, scene);
  });
});
