import { beforeEach, describe, expect, it } from 'vitest';
import { addServer, asLeaseId, asServerId, type LeaseId } from '../../../src/core/ids.js';
import { locateLease } from '../../../src/core/lease-location.js';
import { LeaseTable } from '../../../src/core/lease-table.js';
import type { ForeignLease } from '../../../src/core/ports.js';
import { Registry } from '../../../src/core/registry.js';
import { KnownServers } from '../../../src/store/etcd/known-servers.js';
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
async function find(lease: LeaseId): Promise<{ found: ForeignLease; ms: number }> {
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
    found: { kind: 'shared', alias: digestLease(LEASE), registration: { ...ONE, lease: digestLease(LEASE) } },
    ms: 0,
  });
});

it('does not find a lease by the digest that everybody who reads etcd knows', async () => {
  granting.put(ONE);
  await advance(clock, 100);
  expect((await find(digestLease(LEASE))).found.kind).toBe('none');
});

it('knows that there is no such lease when a marker has come back that was sent after the question', async () => {
  const { found, ms } = await find(LEASE);
  expect(found).toEqual({ kind: 'none', alias: digestLease(LEASE) });
  expect(ms).toBeLessThanOrEqual(100);
});

it('finds a lease whose record is on its way', async () => {
  asked.link.delayMs = () => 300;
  await advance(clock, 1000);
  granting.put(ONE);
  expect((await find(LEASE)).found).toMatchObject({ registration: { ownerUrl: ONE.ownerUrl } });
});

it('cannot tell without etcd, and says so after 1 s', async () => {
  asked.link.isCut = true;
  expect(await find(LEASE)).toEqual({ found: { kind: 'unsettled', alias: digestLease(LEASE) }, ms: 1000 });
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
  expect((await find(LEASE)).found.kind).toBe('unsettled');
  await advance(clock, 5000);
  expect((await find(LEASE)).found.kind).toBe('none');
});

it('finds a lease that was granted during an outage as soon as its record is there', async () => {
  granting.link.isCut = asked.link.isCut = true;
  await advance(clock, 2000);
  granting.put(ONE);
  await advance(clock, 5000);
  granting.link.isCut = asked.link.isCut = false;
  let outcome = await find(LEASE);
  for (let attempt = 0; attempt < 4 && outcome.found.kind === 'unsettled'; attempt++) outcome = await find(LEASE);
  expect(outcome.found).toMatchObject({ registration: { ownerUrl: ONE.ownerUrl } });
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
  const outcomes: string[] = [];
  for (let n = 0; n < 1001; n++)
    void asked.store.findForeignLease(asLeaseId(`no${n}`)).then(({ kind }) => outcomes.push(kind));
  await advance(clock, 1);
  expect(outcomes).toEqual(['unsettled']);
});

it('ends the waits when it closes', async () => {
  asked.link.isCut = true;
  const finding = asked.store.findForeignLease(LEASE);
  void asked.store.close();
  expect((await finding).kind).toBe('unsettled');
});

const URL = 'http://10.0.0.1:8080';

/** A lease of the granting server that has no record. */
const UNSHARED = addServer(asLeaseId('unshared'), asServerId('server-1'));

describe('a lease without a record that names its server', () => {
  const OWNER = { url: URL, lostForMs: undefined };

  it.each([
    ['advertises', () => granting.store.publishUrl(URL)],
    ['had for its newest registration', () => granting.put(ONE)],
  ])('has this owner, with the URL that it %s', async (_how, report) => {
    report();
    await advance(clock, 1100);
    expect(await find(UNSHARED)).toEqual({
      found: { kind: 'unshared', alias: digestLease(UNSHARED), owner: OWNER },
      ms: 0,
    });
  });

  it.each([
    ['http://127.0.0.1:8080', 'http://10.0.0.1:8080', 'http://10.0.0.1:8080'],
    ['http://10.0.0.1:8080', 'http://[::1]:8080', 'http://10.0.0.1:8080'],
    ['http://10.0.0.1:8080', 'http://10.0.0.2:8080', 'http://10.0.0.2:8080'],
  ])('has the newest URL, but none on loopback if there is another: %s, %s', async (first, second, expected) => {
    for (const [n, ownerUrl] of [first, second].entries())
      granting.put({ ...registration(`l${n}`, replica(`r${n}`)), ownerUrl });
    await advance(clock, 1100);
    expect((await find(UNSHARED)).found).toMatchObject({ owner: { url: expected } });
  });

  it('is not known to have ended while its owner has reported no URL', async () => {
    expect(await find(UNSHARED)).toEqual({ found: { kind: 'unsettled', alias: digestLease(UNSHARED) }, ms: 0 });
  });

  it('has the owner whose first marker is on its way', async () => {
    const late = new SimulatedStore(etcd, clock, 3);
    late.store.publishUrl(URL);
    const finding = find(addServer(asLeaseId('early'), asServerId('server-3')));
    asked.link.delayMs = () => 300;
    void late.store.start();
    expect((await finding).found).toMatchObject({ kind: 'unshared', owner: OWNER });
  });

  it('has the URL that the owner advertises, whatever its registrations have', async () => {
    granting.store.publishUrl('http://advertised:1');
    granting.put(ONE);
    await advance(clock, 1100);
    expect((await find(UNSHARED)).found).toMatchObject({ owner: { url: 'http://advertised:1' } });
  });

  it('has this owner also while neither server reaches etcd, and right after that', async () => {
    granting.store.publishUrl(URL);
    await advance(clock, 1100);
    asked.link.isCut = granting.link.isCut = true;
    await advance(clock, 10_000);
    expect((await find(UNSHARED)).found).toMatchObject({ owner: OWNER });
    asked.link.isCut = granting.link.isCut = false;
    await advance(clock, 1500);
    expect((await find(UNSHARED)).found).toMatchObject({ owner: OWNER });
  });

  it('has an owner that is gone, after its marker has ended', async () => {
    granting.store.publishUrl(URL);
    await advance(clock, 1100);
    granting.link.isCut = true;
    await advance(clock, 20_000);
    const { found } = await find(UNSHARED);
    expect(found).toMatchObject({ kind: 'unshared', owner: { url: URL } });
    const lostForMs = found.kind === 'unshared' ? found.owner.lostForMs : undefined;
    expect(lostForMs).toBeGreaterThan(3000);
    expect(lostForMs).toBeLessThan(8000);
    granting.link.isCut = false;
    await advance(clock, 10_000);
    expect((await find(UNSHARED)).found).toMatchObject({ kind: 'unshared', owner: OWNER });
  });

  it('has ended if it names the server that is asked, and does not exist if it names an unknown one', async () => {
    for (const [server, ms] of [
      ['server-2', 0],
      ['server-9', 100],
    ] as const) {
      const outcome = await find(addServer(asLeaseId('other'), asServerId(server)));
      expect(outcome.found.kind).toBe('none');
      expect(outcome.ms).toBeLessThanOrEqual(ms);
    }
  });
});

it('remembers the last 1,000 servers whose markers ended', () => {
  const servers = new KnownServers();
  for (let n = 0; n <= 1001; n++) servers.record(`s${n}`, { lease: BigInt(n), url: URL });
  expect(servers.keepOnly(new Map([['s1001', 0]]), 5)).toHaveLength(1001);
  const lostForMs = ['s0', 's1', 's1000', 's1001'].map((id) => servers.find(asServerId(id), 7)?.lostForMs);
  expect(lostForMs).toEqual([undefined, 2, 2, undefined]);
  expect(servers.find(asServerId('s0'), 7)).toBeUndefined();
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
    await advance(clock, 1100);
    return (await location).kind;
  };
  expect(await locate()).toBe('superseded');
  for (const { link } of [asked, granting]) link.isCut = true;
  await advance(clock, 10_000);
  expect(await locate()).toBe('superseded');
  for (const { link } of [asked, granting]) link.isCut = false;
  await advance(clock, 50_000);
  expect(await locate()).toBe('unknown');
});

it('asks the owner of a superseded lease, because only the owner knows of an oversized registration', async () => {
  const options = { clock, random: createSeededRandom(1), ids: createCountingIds(), events: createRecordingEvents() };
  const registry = new Registry({ ...options, store: asked.store });
  granting.put({ ...ONE, lease: UNSHARED });
  await advance(clock, 1100);
  asked.put(registration('other', replica('r1')));
  await advance(clock, 100);
  expect(await registry.locateLease(UNSHARED)).toEqual({
    kind: 'elsewhere',
    owner: { url: URL, lostForMs: undefined },
    registration: undefined,
  });
});

it('a store without other servers has only the leases of its process', async () => {
  const leases = new LeaseTable({ onHostJoin() {}, onHostLeave() {} });
  expect(await locateLease(LEASE, { store: {}, leases, clock })).toEqual({ kind: 'unknown' });
});
