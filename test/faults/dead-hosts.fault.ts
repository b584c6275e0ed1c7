import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Running, start, stopAll } from '../support/binary.js';
import {
  assertHolds,
  getServerUrl,
  measureTimeUntil,
  readRemovals,
  type ServerProcess,
  startCurlRegistrant,
  startServer,
} from '../support/fleet.js';
import { createNetwork, findNetworkProblem, type Network, type NetworkHost } from '../support/netns.js';

/** Documented limit: a heartbeat interval, the time of retransmissions, and a check by the dead-peer detector. */
const MAX_REMOVAL_MS = 6000;

const reason = findNetworkProblem();
if (reason) console.warn(`tests that need test networks are skipped: ${reason}`);

describe.skipIf(reason !== undefined)('over a real network', () => {
  let network: Network;
  let server: ServerProcess;
  let host: NetworkHost;

  beforeEach(async () => {
    network = createNetwork();
    server = await startServer({ network });
    host = network.addHost();
    await onHost(network.addHost(), 'stays');
  });

  afterEach(async () => {
    await stopAll();
    network.remove();
  });

  function onHost(at: NetworkHost, id: string): Promise<Running> {
    return startCurlRegistrant(getServerUrl(at), id, { through: at.through });
  }

  /** Starts a worker on a host. Its lease is two-way. */
  async function workerOnHost(at: NetworkHost, id: string): Promise<Running> {
    const place = ['--host', at.address, '--port', '50051', '--server', getServerUrl(at)];
    const worker = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--id', id, ...place], at);
    await worker.waitForOutput(/registered /);
    return worker;
  }

  async function listed(): Promise<string> {
    return (await server.listReplicaIds()).sort().join(' ');
  }

  it.each([
    ['its cable is pulled', () => host.unplug()],
    ['every packet to and from it is lost', () => host.setPacketLoss(100)],
  ])('a host takes its replicas along within 6 s when %s', async (what, cut) => {
    await onHost(host, 'curl');
    await workerOnHost(host, 'worker');
    cut();
    await measureTimeUntil(
      `its replicas are removed when ${what}`,
      MAX_REMOVAL_MS,
      async () => (await listed()) === 'stays',
    );
    await assertHolds('calls go to the remaining replica', 2000, async () => (await server.fetchRoute()) === 'stays');
    expect(server.running.stderr()).toContain('removed "curl": unacknowledged');
  });

  it('a killed replica is removed within 1 s', async () => {
    const registrant = await onHost(host, 'curl');
    const worker = await workerOnHost(host, 'worker');
    registrant.child.kill('SIGKILL');
    await measureTimeUntil('curl is gone', 1000, async () => (await listed()) === 'stays worker');
    worker.child.kill('SIGKILL');
    await measureTimeUntil('the worker is gone', 1000, async () => (await listed()) === 'stays');
  });

  it('a stopped worker is removed within 10 s, and is back within 4 s when it continues', async () => {
    const worker = await workerOnHost(host, 'worker');
    worker.child.kill('SIGSTOP');
    await measureTimeUntil('the worker is not in the list', 10_000, async () => (await listed()) === 'stays');
    worker.child.kill('SIGCONT');
    await measureTimeUntil('the worker is back', 4000, async () => (await listed()) === 'stays worker');
  });

  it('a stopped program with a one-way lease stays registered, because its kernel acknowledges the heartbeats', async () => {
    const registrant = await onHost(host, 'curl');
    registrant.child.kill('SIGSTOP');
    await assertHolds('curl is in the list', 10_000, async () => (await listed()) === 'curl stays');
  });

  it.each([
    ['its cable is out', () => host.unplug(), () => host.plug()],
    ['every packet is lost', () => host.setPacketLoss(100), () => host.setPacketLoss(0)],
  ])('nobody is removed when for 2 s %s, five times in a row', async (_what, cut, restore) => {
    for (let n = 0; n < 5; n++) await onHost(host, `curl${n}`);
    await workerOnHost(host, 'worker');
    for (let n = 0; n < 5; n++) {
      // Each time at a different point between two heartbeats.
      await new Promise((resolve) => setTimeout(resolve, 4000 + n * 400));
      cut();
      await new Promise((resolve) => setTimeout(resolve, 2000));
      restore();
    }
    await assertHolds('all are in the list', 5000, async () => (await server.listReplicaIds()).length === 7);
    expect(readRemovals(server)).toEqual([]);
  });

  it('no replica is removed while 20 % of the packets are lost for a minute, and route requests always find one', async () => {
    for (let n = 0; n < 8; n++) await onHost(host, `curl${n}`);
    const worker = await workerOnHost(host, 'worker1');
    host.setPacketLoss(20);
    await assertHolds('a route request finds a replica', 60_000, async () => (await server.fetchRoute()) !== undefined);
    host.setPacketLoss(0);
    expect(readRemovals(server), worker.stderr()).toEqual([]);
    const suspected = server.running.stderr().split('is suspect').length - 1;
    console.info(`measured: with a fifth of the packets lost both ways for 60 s: ${suspected} suspected of 9`);
    await measureTimeUntil('all are in the list', 20_000, async () => (await server.listReplicaIds()).length === 10);
  });
});
