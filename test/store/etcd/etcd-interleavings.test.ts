import { expect, it } from 'vitest';
import { asInstanceId, type ReplicaId } from '../../../src/core/ids.js';
import { digestLease } from '../../../src/store/etcd/registration-record.js';
import { ManualClock } from '../../support/manual-clock.js';
import { registration, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance, SimulatedStore } from '../../support/simulated-stores.js';

/** Time after which all stores must agree: an ended lease, its grace, and a retry. */
const QUIESCENCE_MS = 60_000;

/** Runs random registrations, ends and failures at three servers of one etcd, and lets everything settle. */
async function run(seed: number) {
  const clock = new ManualClock();
  const etcd = new SimulatedEtcd(clock);
  const random = createSeededRandom(seed);
  const pick = (n: number): number => Math.floor(random.fraction() * n);
  const servers = [1, 2, 3].map((n) => new SimulatedStore(etcd, clock, seed * 10 + n));
  for (const { link } of servers) link.delayMs = () => random.fraction() * 50;
  for (const { store } of servers) void store.start();
  await advance(clock, pick(2) * 1000);
  const seqs = new Map<string, number>();
  const wronglyDeleted: string[] = [];
  etcd.onDelete = (value) => {
    const live = servers.flatMap(({ own }) => [...own.values()].map(({ lease }) => digestLease(lease)));
    if (live.some((lease) => value.includes(lease))) wronglyDeleted.push(value);
  };
  let leases = 0;
  for (let step = 0; step < 40; step++) {
    const server = servers[pick(3)] as SimulatedStore;
    const id = `r${pick(3)}`;
    const instance = `process-${id}-${pick(2)}`;
    switch (pick(10)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const seq = (seqs.get(instance) ?? 0) + 1;
        seqs.set(instance, seq);
        server.put({
          ...registration(`l${++leases}`, replica(id, { model: `${leases}` })),
          instance: { id: asInstanceId(instance), seq, startedMs: 0 },
        });
        break;
      }
      case 4:
      case 5:
        server.end(id as ReplicaId);
        break;
      case 6:
        server.link.isCut = !server.link.isCut;
        break;
      case 7:
        server.link.losesResponses = !server.link.losesResponses;
        break;
      case 8:
        etcd.revoke(etcd.leases[pick(etcd.leases.length)] ?? 0n);
        break;
      default:
        if (pick(2) === 0) etcd.breakWatches();
        else etcd.compact();
    }
    await advance(clock, pick(4) === 0 ? 20_000 * random.fraction() : 100 * random.fraction());
  }
  for (const { link } of servers) Object.assign(link, { isCut: false, losesResponses: false });
  await advance(clock, QUIESCENCE_MS);
  return { servers, etcd, wronglyDeleted };
}

it.each([1, 2, 3, 4])('servers agree on the live registrations after any interleaving (batch %i)', async (batch) => {
  for (let seed = batch * 1000; seed < batch * 1000 + 25; seed++) {
    const { servers, etcd, wronglyDeleted } = await run(seed);
    const label = `seed ${seed}`;
    expect(wronglyDeleted, `${label}: deleted although connected`).toEqual([]);
    const lost = servers.flatMap((server) => server.lost);
    expect(lost, `${label}: lost although connected`).toEqual([]);
    const live = servers.flatMap(({ own }) => [...own.values()]);
    const ids = live.map((one) => one.replica.id).sort();
    expect(new Set(ids).size, `${label}: one live registration of each id: ${ids}`).toBe(ids.length);
    const models = live.map((one) => one.replica.capabilities[0]?.source).sort();
    for (const { shown } of servers) {
      expect([...shown.values()].map((one) => one.replica.capabilities[0]?.source).sort(), label).toEqual(models);
    }
    const records = Object.keys(etcd.dump()).filter((key) => key.includes('/replicas/'));
    expect(records.map((key) => key.slice('/anyserve/replicas/'.length)).sort(), `${label}: in etcd`).toEqual(ids);
    for (const { store } of servers) expect(store.listProblems(), label).toEqual([]);
  }
});
