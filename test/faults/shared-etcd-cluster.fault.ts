import { afterAll, describe, expect, it } from 'vitest';
import { stopAll } from '../support/binary.js';
import type { EtcdMember } from '../support/etcd-cluster.js';
import { findEtcdProblem } from '../support/etcd-process.js';
import { findNetworkProblem } from '../support/netns.js';
import { SharedRegistryRun } from '../support/shared-registry-run.js';

const problem = findEtcdProblem() ?? findNetworkProblem();
if (problem !== undefined) console.warn(`skipped: ${problem}`);

afterAll(stopAll);

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Makes a run, and expects that it keeps what the documentation promises. */
async function testRun(breakThings: (run: SharedRegistryRun) => Promise<void>): Promise<void> {
  const run = await SharedRegistryRun.start();
  try {
    await breakThings(run);
    const violations = await run.finish();
    expect(violations.slice(0, 10), `${violations.length} violations`).toEqual([]);
  } finally {
    await run.stop();
  }
}

/** Makes the fleet change 2 s after the beginning of a failure, and ends the failure after its time. */
async function endAfter(ms: number, run: SharedRegistryRun, end: () => unknown): Promise<void> {
  await sleep(2000);
  await run.changeFleet();
  await sleep(ms - 2000);
  await end();
}

describe.skipIf(problem !== undefined)('three API servers on three etcd members, with 1,000 replicas', () => {
  it('lose nothing while each API server in turn is killed, restarted, and frozen for 20 s', async () => {
    await testRun(async (run) => {
      for (const { server } of run.servers) {
        await server.stop('SIGKILL');
        await endAfter(3000, run, () => server.start());
        await run.expectAgreement('a kill of an API server');
      }
      for (const { server } of run.servers) {
        await server.stop('SIGTERM');
        await run.changeFleet();
        await server.start();
        await run.expectAgreement('a restart of an API server');
      }
      for (const { server } of run.servers) {
        await Promise.all([server.freeze(20_000), endAfter(2000, run, () => {})]);
        await run.expectAgreement('a freeze of an API server');
      }
    });
  }, 900_000);

  // The API servers stay alive here and in the next test. So most of the time is waiting, and both run at the same time.
  it.concurrent('lose nothing while the leader of etcd is killed, frozen and cut off', async () => {
    await testRun(async (run) => {
      const { cluster } = run;
      const members = cluster.members.map(({ host }) => host);
      const apiHosts = run.servers.map(({ host }) => host);
      const killed = await cluster.waitForLeader();
      await killed.etcd.kill();
      await endAfter(10_000, run, () => killed.etcd.start());
      await run.expectAgreement('a kill of the leader');
      const frozen = await cluster.waitForLeader();
      frozen.etcd.pause();
      await endAfter(20_000, run, () => frozen.etcd.resume());
      await run.expectAgreement('a freeze of the leader');
      const cutOff = await cluster.waitForLeader();
      cutOff.host.cut([...cluster.members.map(({ host }) => host), ...apiHosts].filter((host) => host !== cutOff.host));
      await endAfter(20_000, run, () => cutOff.host.join());
      await run.expectAgreement('a partition of the leader');
      const alone = await cluster.waitForLeader();
      alone.host.cut(members.filter((host) => host !== alone.host));
      await endAfter(20_000, run, () => alone.host.join());
      await run.expectAgreement('a partition of the leader from the other members');
    });
  }, 900_000);

  it.concurrent('lose nothing while etcd has no quorum for 60 s, and when it has compacted what a server missed', async () => {
    await testRun(async (run) => {
      const { members } = run.cluster;
      const [first, second, third] = members as [EtcdMember, EtcdMember, EtcdMember];
      const [disconnected] = run.servers;
      disconnected?.host.cut(members.map(({ host }) => host));
      await endAfter(9000, run, async () => {
        const status = JSON.parse(await first.etcd.control('endpoint', 'status', '-w', 'json'));
        await first.etcd.control('compact', String(status[0].Status.header.revision));
        disconnected?.host.join();
      });
      await run.expectAgreement('a compaction');
      await Promise.all([second.etcd.kill(), third.etcd.kill()]);
      await endAfter(60_000, run, () => Promise.all([second.etcd.start(), third.etcd.start()]));
      await run.expectAgreement('60 s without a quorum');
    });
  }, 900_000);
});
