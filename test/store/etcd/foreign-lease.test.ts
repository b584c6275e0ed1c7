import { beforeEach, expect, it } from 'vitest';
import { asLeaseId, type LeaseId } from '../../../src/core/ids.js';
import { locateLease } from '../../../src/core/lease-location.js';
import { LeaseTable } from '../../../src/core/lease-table.js';
import type { ForeignLease } from '../../../src/core/ports.js';
import { Registry } from '../../../src/core/registry.js';
import { digestLease } from '../../../src/store/etcd/registration-record.js';
import { ManualClock } from '../../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, registration, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance, SimulatedStore } from '../../support/simulated-stores.js';

let clock: ManualClock;
let etcd: SimulatedEtcd;
let granting: SimulatedStore;
let asked: SimulatedStore;

const LEASE = asLeaseId('secret');
const ONE = { ...registration('secret', replica('r1')), ownerUrl: 'http://10.0.0.1:8080' };

beforeEach(async () => {
  clock = new ManualClock();
  etcd = new SimulatedEtcd(clock);
  [granting, asked] = [1, 2].map((n) => new SimulatedStore(etcd, clock, n)) as [SimulatedStore, SimulatedStore];
  void granting.store.start();
  void asked.store.start();
  await advance(clock, 7000);
});

/** Looks a lease up, and returns the outcome with the time that it took. */
async function find(lease: LeaseId): Promise<{ found: ForeignLease | undefined; ms: number }> {
  const startedAtMs = clock.nowMs();
  let endedAtMs = Number.NaN;
  const finding = asked.store.findForeignLease(lease).finally(() => {
    endedAtMs = clock.nowMs();
  });
  await advance(clock, 1500);
  return { found: await finding, ms: endedAtMs - startedAtMs };
}

it('finds the owner of a lease of another server at once, by the digest of the lease', async () => {
  granting.put(ONE);
  await advance(clock, 100);
  expect(await find(LEASE)).toEqual({
    found: { alias: digestLease(LEASE), registration: { ...ONE, lease: digestLease(LEASE) } },
    ms: 0,
  });
});

it('does not find a lease by the digest that everybody who reads etcd knows', async () => {
  granting.put(ONE);
  await advance(clock, 100);
  expect((await find(digestLease(LEASE))).found?.registration).toBeUndefined();
});

it('knows that there is no such lease when a marker has come back that was sent after the question', async () => {
  const { found, ms } = await find(LEASE);
  expect(found).toEqual({ alias: digestLease(LEASE), registration: undefined });
  expect(ms).toBeLessThanOrEqual(100);
});

it('finds a lease whose record is on its way', async () => {
  asked.link.delayMs = () => 300;
  await advance(clock, 1000);
  granting.put(ONE);
  expect((await find(LEASE)).found?.registration?.ownerUrl).toBe(ONE.ownerUrl);
});

it('cannot tell without etcd, and says so after 1 s', async () => {
  asked.link.isCut = true;
  expect(await find(LEASE)).toEqual({ found: undefined, ms: 1000 });
});

it.each([
  [
    'right after its first list',
    async () => {
      asked = new SimulatedStore(etcd, clock, 3);
      void asked.store.start();
      await advance(clock, 1000);
    },
  ],
  [
    'right after an outage of etcd, in which the owner can have granted it',
    async () => {
      for (const { link } of [asked, granting]) link.isCut = true;
      await advance(clock, 10_000);
      for (const { link } of [asked, granting]) link.isCut = false;
      await advance(clock, 2500);
    },
  ],
])('cannot tell %s, and can 5 s later', async (_when, prepare) => {
  await prepare();
  expect((await find(LEASE)).found).toBeUndefined();
  await advance(clock, 5000);
  expect((await find(LEASE)).found).toEqual({ alias: digestLease(LEASE), registration: undefined });
});

it('finds a lease that was granted during an outage as soon as its record is there', async () => {
  granting.link.isCut = asked.link.isCut = true;
  await advance(clock, 2000);
  granting.put(ONE);
  await advance(clock, 5000);
  granting.link.isCut = asked.link.isCut = false;
  let outcome = await find(LEASE);
  for (let attempt = 0; attempt < 4 && !outcome.found; attempt++) outcome = await find(LEASE);
  expect(outcome.found?.registration?.ownerUrl).toBe(ONE.ownerUrl);
});

it('asks for at most ten markers a second, however many leases are looked up', async () => {
  const before = etcd.revision;
  for (let n = 0; n < 100; n++) {
    void asked.store.findForeignLease(asLeaseId(`no${n}`));
    await advance(clock, 10);
  }
  expect(Number(etcd.revision - before)).toBeLessThanOrEqual(12);
});

it('limits the number of questions that wait', async () => {
  asked.link.isCut = true;
  const outcomes: unknown[] = [];
  for (let n = 0; n < 1001; n++)
    void asked.store.findForeignLease(asLeaseId(`no${n}`)).then((one) => outcomes.push(one));
  await advance(clock, 1);
  expect(outcomes).toEqual([undefined]);
});

it('ends the waits when it closes', async () => {
  asked.link.isCut = true;
  const finding = asked.store.findForeignLease(LEASE);
  void asked.store.close();
  expect(await finding).toBeUndefined();
});

it('knows for a minute that a lease of another server was superseded', async () => {
  const options = { clock, random: createSeededRandom(1), ids: createCountingIds(), events: createRecordingEvents() };
  const registry = new Registry({ ...options, store: asked.store });
  granting.put(ONE);
  await advance(clock, 100);
  granting.put(registration('other', replica('r1')));
  await advance(clock, 100);
  const locate = async (): Promise<string> => {
    const location = registry.locateLease(LEASE);
    await advance(clock, 200);
    return (await location).kind;
  };
  expect(await locate()).toBe('superseded');
  await advance(clock, 60_000);
  expect(await locate()).toBe('unknown');
});

it('a store without other servers has only the leases of its process', async () => {
  const leases = new LeaseTable({ onHostJoin() {}, onHostLeave() {} });
  expect(await locateLease(LEASE, { store: {}, leases, clock })).toEqual({ kind: 'unknown' });
});
