import { beforeEach, describe, expect, it } from 'vitest';
import { asInstanceId, asLeaseId, type ReplicaId } from '../../../src/core/ids.js';
import type { Registration } from '../../../src/core/replica.js';
import { digestLease } from '../../../src/store/etcd/registration-record.js';
import { ManualClock } from '../../support/manual-clock.js';
import { registration, replica } from '../../support/replicas.js';
import { SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance, SimulatedStore } from '../../support/simulated-stores.js';

let clock: ManualClock;
let etcd: SimulatedEtcd;
let servers: SimulatedStore[];

beforeEach(async () => {
  clock = new ManualClock();
  etcd = new SimulatedEtcd(clock);
  servers = [1, 2, 3].map((n) => new SimulatedStore(etcd, clock, n));
  for (const { store } of servers) void store.start();
  await advance(clock, 2000);
});

function server(n: number): SimulatedStore {
  return servers[n] as SimulatedStore;
}

/** Registers `rN` at each server N. */
async function registerAtEach(): Promise<void> {
  for (const n of [0, 1, 2]) server(n).put(registration(`l${n}`, replica(`r${n}`, { model: 'a' })));
  await advance(clock, 100);
}

/** Returns the states of the replicas that a server shows. */
function showStates(n: number): Record<string, string> {
  return Object.fromEntries([...server(n).shown.values()].map((one) => [one.replica.id, one.state]).sort());
}

const READY = { r0: 'ready', r1: 'ready', r2: 'ready' };

function countRecords(): number {
  return Object.keys(etcd.dump()).filter((key) => key.includes('/replicas/')).length;
}

function of(instance: string, seq: number, one: Registration): Registration {
  return { ...one, instance: { id: asInstanceId(instance), seq, startedMs: 0 } };
}

describe('without etcd', () => {
  it('a start ends after 5 s, and registrations are kept here', async () => {
    const alone = new SimulatedStore(etcd, clock, 4);
    alone.link.isCut = true;
    let isStarted = false;
    void alone.store.start().then(() => (isStarted = true));
    await advance(clock, 4900);
    expect(isStarted).toBe(false);
    await advance(clock, 200);
    expect(isStarted).toBe(true);
    alone.put(registration('l1', replica('r1')));
    expect([...alone.shown.keys()]).toEqual(['r1']);
    expect(alone.store.listProblems()).toEqual([expect.stringMatching(/^etcd can't be used: /)]);
    alone.link.isCut = false;
    await advance(clock, 5000);
    expect(server(0).shown.has('r1' as ReplicaId)).toBe(true);
    expect(alone.store.listProblems()).toEqual([]);
  });

  it('a registration waits 1 s for its commit, and a renewal does not wait', async () => {
    server(0).link.isCut = true;
    const one = registration('l1', replica('r1'));
    const done: string[] = [];
    void server(0)
      .store.put(one)
      .then(() => done.push('put'));
    void server(0)
      .store.change(one.lease, { state: 'draining' })
      .then(() => done.push('change'));
    await advance(clock, 900);
    expect(done).toEqual(['change']);
    await advance(clock, 200);
    expect(done).toEqual(['change', 'put']);
  });

  it('no replica is removed for an hour, and all servers agree within 5 s when it is back', async () => {
    await registerAtEach();
    for (const { link } of servers) link.isCut = true;
    server(1).end('r1' as ReplicaId);
    await advance(clock, 3_600_000);
    expect(showStates(0)).toEqual(READY);
    expect(showStates(1)).toEqual({ r0: 'ready', r2: 'ready' });
    expect(server(0).store.listProblems()).toHaveLength(1);
    for (const { link } of servers) link.isCut = false;
    await advance(clock, 5000);
    for (const n of [0, 1, 2]) expect(showStates(n)).toMatchObject({ r0: 'ready', r2: 'ready' });
    // The record of r1 went with the lease of its server, whose end the others see now.
    await advance(clock, 12_000);
    for (const n of [0, 1, 2]) expect(showStates(n)).toEqual({ r0: 'ready', r2: 'ready' });
  });
});

describe('a lease of a server that ends', () => {
  it('is replaced, and its records are back within 2 s, if the server is alive', async () => {
    await registerAtEach();
    for (const lease of etcd.leases) etcd.revoke(lease);
    expect(countRecords()).toBe(0);
    await advance(clock, 2000);
    expect(countRecords()).toBe(3);
    for (const n of [0, 1, 2]) expect(showStates(n)).toEqual(READY);
  });

  it('changes no state for 10 s if half of the servers lost theirs', async () => {
    await registerAtEach();
    server(1).link.isCut = true;
    server(2).link.isCut = true;
    for (const lease of etcd.leases.slice(1)) etcd.revoke(lease);
    await advance(clock, 9000);
    expect(showStates(0)).toEqual(READY);
    await advance(clock, 2000);
    expect(showStates(0)).toEqual({ r0: 'ready' });
  });

  it('makes the replicas suspects for 10 s if it is the only one, and then removes them', async () => {
    await registerAtEach();
    server(2).link.isCut = true;
    await advance(clock, 16_000);
    expect(showStates(0)).toEqual({ ...READY, r2: 'suspect' });
    await advance(clock, 10_000);
    expect(showStates(0)).toEqual({ r0: 'ready', r1: 'ready' });
    expect(showStates(2)).toEqual(READY);
  });

  it('removes nothing while etcd cannot be reached', async () => {
    await registerAtEach();
    server(2).link.isCut = true;
    await advance(clock, 16_000);
    for (const { link } of servers) link.isCut = true;
    await advance(clock, 60_000);
    expect(showStates(0)).toEqual({ ...READY, r2: 'suspect' });
    for (const { link } of servers) link.isCut = false;
    await advance(clock, 5000);
    for (const n of [0, 1, 2]) expect(showStates(n)).toEqual(READY);
  });

  it('makes no suspect of a replica that has registered elsewhere', async () => {
    await registerAtEach();
    server(2).link.isCut = true;
    await advance(clock, 5000);
    server(0).put(registration('l9', replica('r2', { model: 'a' })));
    await advance(clock, 30_000);
    expect(showStates(1)).toEqual(READY);
    server(2).link.isCut = false;
    await advance(clock, 5000);
    expect(server(2).own.has('r2' as ReplicaId)).toBe(false);
    expect(showStates(2)).toEqual(READY);
  });
});

describe('an etcd that was restored from a backup', () => {
  it('gets all registrations again, and no server loses one', async () => {
    await registerAtEach();
    const restore = etcd.backUp();
    for (let n = 0; n < 20; n++) server(0).put(registration(`x${n}`, replica(`x${n}`)));
    await advance(clock, 500);
    restore();
    await advance(clock, 5000);
    for (const n of [0, 1, 2]) expect(server(n).shown.size).toBe(23);
    expect(countRecords()).toBe(23);
    expect(servers.flatMap(({ lost }) => lost)).toEqual([]);
  });

  it('has lower revisions, at which a registration is newer all the same', async () => {
    const restore = etcd.backUp();
    for (let n = 0; n < 20; n++) server(0).put(registration(`x${n}`, replica(`x${n}`)));
    await advance(clock, 5000);
    await registerAtEach();
    restore();
    await advance(clock, 3000);
    server(1).put(registration('later', replica('r0', { model: 'later' })));
    await advance(clock, 1000);
    expect([server(0).own.has('r0' as ReplicaId), server(1).own.has('r0' as ReplicaId)]).toEqual([false, true]);
  });

  it('is noticed by the id of its cluster', async () => {
    await registerAtEach();
    etcd.clusterId = 2n;
    server(0).put(registration('l7', replica('r7')));
    await advance(clock, 3000);
    for (const n of [0, 1, 2]) expect(server(n).shown.size).toBe(4);
  });
});

describe('a full etcd', () => {
  it('keeps new registrations in their server, says so, and gets them when it has space', async () => {
    etcd.isFull = true;
    server(0).put(registration('l1', replica('r1')));
    await advance(clock, 4000);
    expect(server(0).shown.size).toBe(1);
    expect(server(1).shown.size).toBe(0);
    expect(server(0).store.listProblems()).toContain(
      "etcd doesn't accept writes: etcdserver: mvcc: database space exceeded",
    );
    etcd.isFull = false;
    await advance(clock, 3000);
    expect(server(1).shown.size).toBe(1);
    expect(server(0).store.listProblems()).toEqual([]);
    expect(server(0).events.all.map(({ kind }) => kind)).toEqual(['store_degraded', 'store_recovered']);
  });
});

it('a full etcd deletes the records of registrations that end, because it accepts transactions that only delete', async () => {
  await registerAtEach();
  etcd.isFull = true;
  server(0).put(registration('l9', replica('r9')));
  await advance(clock, 100);
  server(0).end('r0' as ReplicaId);
  await advance(clock, 3000);
  expect(showStates(1)).toEqual({ r1: 'ready', r2: 'ready' });
});

describe('a registration that etcd does not have', () => {
  const FULL = "etcd doesn't accept writes: etcdserver: mvcc: database space exceeded";
  const large = Array.from({ length: 3000 }, (_, n) => ({ model: `${n}`.padStart(100, 'x') }));

  it('is local after 1 s without an answer, and shared again later', async () => {
    server(0).link.isCut = true;
    server(0).put(registration('l1', replica('r1')));
    await advance(clock, 900);
    expect(server(0).sharing).toEqual([]);
    await advance(clock, 200);
    expect(server(0).sharing).toEqual(['l1: etcd has not confirmed it']);
    expect(server(0).store.listProblems()).toContain(
      '1 registration is only in this API server: etcd has not confirmed it',
    );
    server(0).link.isCut = false;
    await advance(clock, 5000);
    expect(server(0).sharing).toEqual(['l1: etcd has not confirmed it', 'l1: shared']);
    expect(server(0).store.listProblems()).toEqual([]);
  });

  it('is local while etcd is full, also if it was shared before and its server has lost its lease', async () => {
    await registerAtEach();
    etcd.isFull = true;
    server(0).put(registration('l9', replica('r9')));
    await advance(clock, 100);
    expect(server(0).sharing).toEqual([`l9: ${FULL}`]);
    await advance(clock, 2000);
    for (const lease of etcd.leases) etcd.revoke(lease);
    await advance(clock, 5000);
    expect(server(0).sharing).toEqual([`l9: ${FULL}`, `l0: ${FULL}`]);
    expect(server(1).sharing).toEqual([`l1: ${FULL}`]);
    expect(server(0).store.listProblems().at(-1)).toBe(`2 registrations are only in this API server: ${FULL}`);
    etcd.isFull = false;
    await advance(clock, 5000);
    expect(server(0).sharing.slice(2).sort()).toEqual(['l0: shared', 'l9: shared']);
  });

  it('is local at once if it is too large, and shared when it is smaller', async () => {
    const one = registration('l1', replica('r1', ...large));
    server(0).put(one);
    await advance(clock, 10);
    expect(server(0).sharing).toEqual([
      expect.stringMatching(/^l1: its record has \d+ bytes, and the maximum is 262144$/),
    ]);
    await server(0).store.change(one.lease, { replica: replica('r1', { model: 'small' }) });
    await advance(clock, 100);
    expect(server(0).sharing.slice(1)).toEqual(['l1: shared']);
    expect(server(1).shown.size).toBe(1);
    await server(0).store.change(one.lease, { replica: one.replica });
    await advance(clock, 100);
    expect(server(0).sharing.slice(2)).toEqual([expect.stringContaining('l1: its record has')]);
  });

  it('is superseded by a later one at another server, although it is too large for etcd', async () => {
    server(0).put(registration('l1', replica('r1', ...large)));
    await advance(clock, 10);
    server(1).put(registration('l2', replica('r1', { model: 'small' })));
    await advance(clock, 100);
    const shown = servers.map((each) => each.shown.get('r1' as ReplicaId)?.lease);
    expect(shown).toEqual([digestLease(asLeaseId('l2')), 'l2', digestLease(asLeaseId('l2'))]);
    expect(server(0).own.size).toBe(0);
  });

  it('is newer than one at another server that was there before, although it is too large for etcd', async () => {
    server(1).put(registration('l2', replica('r1', { model: 'small' })));
    await advance(clock, 100);
    server(0).put(registration('l1', replica('r1', ...large)));
    await advance(clock, 30_000);
    expect(server(0).shown.get('r1' as ReplicaId)?.lease).toBe('l1');
    expect(server(0).own.size).toBe(1);
  });

  it('is not local if its server only writes it again under a new lease', async () => {
    await registerAtEach();
    for (const lease of etcd.leases) etcd.revoke(lease);
    await advance(clock, 10_000);
    expect(servers.map(({ sharing }) => sharing)).toEqual([[], [], []]);
  });

  it('is forgotten when it ends or is replaced', async () => {
    server(0).link.isCut = true;
    for (const id of ['r1', 'r2']) server(0).put(registration(`l-${id}`, replica(id)));
    await advance(clock, 1100);
    server(0).end('r1' as ReplicaId);
    server(0).put(registration('l-new', replica('r2')));
    await advance(clock, 1100);
    expect(server(0).sharing.slice(2)).toEqual(['l-new: etcd has not confirmed it']);
    expect(server(0).store.listProblems().at(-1)).toBe(
      '1 registration is only in this API server: etcd has not confirmed it',
    );
  });
});

describe('markers', () => {
  /** Starts more servers, and returns how many markers all of them write in 30 s, and the highest staleness of one. */
  async function count(servers: number): Promise<{ perServer: number; stalenessMs: number }> {
    for (let n = 4; n <= servers; n++) void new SimulatedStore(etcd, clock, n).store.start();
    await advance(clock, 20_000);
    const before = etcd.revision;
    let stalenessMs = 0;
    for (let second = 0; second < 30; second++) {
      await advance(clock, 1000);
      stalenessMs = Math.max(stalenessMs, server(0).store.stalenessMs);
    }
    return { perServer: Number(etcd.revision - before) / servers, stalenessMs };
  }

  it('are written every second', async () => {
    const { perServer, stalenessMs } = await count(10);
    expect(perServer).toBeCloseTo(30, 0);
    expect(stalenessMs).toBeLessThanOrEqual(1000);
  });

  it('are written every N/10 s by N > 10 servers, so that a watch gets 10 a second', async () => {
    const { perServer, stalenessMs } = await count(30);
    expect(perServer).toBeCloseTo(10, 0);
    expect(stalenessMs).toBeLessThanOrEqual(3000);
    expect(server(0).store.listProblems()).toEqual([]);
  });

  it('stop when etcd cannot be reached, and the staleness grows', async () => {
    server(0).link.isCut = true;
    await advance(clock, 60_000);
    expect(server(0).store.stalenessMs).toBeGreaterThanOrEqual(60_000);
    expect(server(0).store.isConnected).toBe(false);
    server(0).link.isCut = false;
    await advance(clock, 5000);
    expect(server(0).store.stalenessMs).toBeLessThan(1500);
    expect(server(0).store.isConnected).toBe(true);
  });
});

describe('a watch', () => {
  it('that goes silent is opened again, because the marker of the server does not come back', async () => {
    await registerAtEach();
    server(0).link.isCut = true;
    await advance(clock, 50);
    server(1).put(registration('l5', replica('r5')));
    await advance(clock, 50);
    server(0).link.isCut = false;
    expect(server(0).shown.has('r5' as ReplicaId)).toBe(false);
    await advance(clock, 5000);
    expect(server(0).shown.has('r5' as ReplicaId)).toBe(true);
    expect(server(0).store.stalenessMs).toBeLessThan(1500);
  });

  it('that needs compacted revisions is replaced by a complete list', async () => {
    await registerAtEach();
    server(0).link.isCut = true;
    server(1).put(registration('l5', replica('r5')));
    server(1).end('r1' as ReplicaId);
    await advance(clock, 3000);
    etcd.compact();
    server(0).link.isCut = false;
    await advance(clock, 5000);
    expect(showStates(0)).toEqual({ r0: 'ready', r2: 'ready', r5: 'ready' });
  });
});

describe('a complete list', () => {
  const listStates = ({ shown }: SimulatedStore): string[] =>
    [...shown.values()].map((one) => `${one.replica.id} ${one.state}`).sort();

  it('arrives in pages, while its records change', async () => {
    for (let n = 0; n < 1500; n++) server(0).put(registration(`l${n}`, replica(`r${n}`, { model: 'a' })));
    await advance(clock, 3000);
    const late = new SimulatedStore(etcd, clock, 4);
    late.link.delayMs = () => 20;
    void late.store.start();
    for (let n = 0; n < 1500; n += 50) {
      await advance(clock, 2);
      server(0).end(`r${n}` as ReplicaId);
      void server(0).store.change(registration(`l${n + 1}`, replica('')).lease, { state: 'unready' });
    }
    await advance(clock, 2000);
    expect(late.shown.size).toBe(1470);
    expect(listStates(late)).toEqual(listStates(server(0)));
  });
});

describe('two registrations of an id', () => {
  it('of one process: the higher number wins, whichever is committed last', async () => {
    server(1).link.isCut = true;
    server(1).put(of('p', 1, registration('old', replica('r1', { model: 'old' }))));
    await advance(clock, 100);
    server(0).put(of('p', 2, registration('new', replica('r1', { model: 'new' }))));
    await advance(clock, 100);
    server(1).link.isCut = false;
    await advance(clock, 20_000);
    for (const { shown } of servers) {
      expect([...shown.values()].map((one) => one.replica.capabilities[0]?.source)).toEqual(['{"model":"new"}']);
    }
    expect([server(0).own.size, server(1).own.size]).toEqual([1, 0]);
  });

  it('of two processes: the one that is committed last wins, and keeps winning after its server lost its lease', async () => {
    server(1).put(of('p', 9, registration('first', replica('r1', { model: 'first' }))));
    await advance(clock, 100);
    server(0).put(of('q', 1, registration('second', replica('r1', { model: 'second' }))));
    await advance(clock, 100);
    for (const lease of etcd.leases) etcd.revoke(lease);
    await advance(clock, 20_000);
    for (const { shown } of servers) {
      expect([...shown.values()].map((one) => one.replica.capabilities[0]?.source)).toEqual(['{"model":"second"}']);
    }
  });
});

it('a registration that was replaced unnoticed does not win because its server writes it again', async () => {
  server(0).put(of('p', 1, registration('first', replica('r1', { model: 'first' }))));
  await advance(clock, 100);
  server(0).link.isCut = true;
  server(1).put(of('q', 1, registration('second', replica('r1', { model: 'second' }))));
  await advance(clock, 100);
  server(1).link.isCut = true;
  for (const lease of etcd.leases) etcd.revoke(lease);
  server(0).link.isCut = false;
  await advance(clock, 10_000);
  expect(Object.values(etcd.dump()).some((value) => value.includes('"first"'))).toBe(true);
  server(1).link.isCut = false;
  await advance(clock, 20_000);
  expect([server(0).own.size, server(1).own.size]).toEqual([0, 1]);
});

describe('the shutdown of a server', () => {
  it('leaves the records for the servers at which the replicas register next', async () => {
    await registerAtEach();
    const held = server(2).own.get('r2' as ReplicaId) as Registration;
    await server(2).store.delete(held.lease, 'shutdown');
    await advance(clock, 1000);
    await server(2).store.close();
    await advance(clock, 100);
    expect(showStates(0)).toEqual(READY);
    server(0).put(registration('l9', replica('r2', { model: 'a' })));
    await advance(clock, 40_000);
    expect(showStates(1)).toEqual(READY);
  });

  it('ends its lease at once if it has no records', async () => {
    void server(2).store.close();
    await advance(clock, 10);
    expect(etcd.leases).toHaveLength(2);
  });
});

it('writes at most 100 records at once, and a change that follows at once only once', async () => {
  const before = etcd.revision;
  for (let n = 0; n < 250; n++) server(0).put(registration(`l${n}`, replica(`r${n}`)));
  for (let n = 0; n < 250; n++)
    void server(0).store.change(registration(`l${n}`, replica('')).lease, { state: 'unready' });
  await advance(clock, 100);
  expect(etcd.revision - before).toBe(3n);
  expect(server(1).shown.size).toBe(250);
});

it('sends batches at least 20 ms apart after a batch of several writes, and a single write at once', async () => {
  const register = async (ids: readonly string[]): Promise<number> => {
    const before = etcd.requests.length;
    for (const id of ids) server(0).put(registration(`lease-${id}`, replica(id)));
    await advance(clock, 1);
    return etcd.requests.length - before;
  };
  expect(await register(['alone'])).toBe(1);
  expect(await register(['alone-too'])).toBe(1);
  expect(await register(['together-1', 'together-2'])).toBe(1);
  const before = etcd.requests.length;
  for (let n = 0; n < 199; n++) await register([`r${n}`]);
  // With the markers of three servers.
  expect(etcd.requests.length - before).toBeLessThan(10 + 3);
  await advance(clock, 20);
  expect(server(1).shown.size).toBe(4 + 199);
  expect(await register(Array.from({ length: 100 }, (_, n) => `full-${n}`))).toBe(1);
});

it('writes at most 1 MiB at once, also when it writes large records again', async () => {
  const large = Array.from({ length: 2000 }, (_, n) => ({ model: `${n}`.padStart(100, 'x') }));
  const all = Array.from({ length: 9 }, (_, n) => registration(`l${n}`, replica(`r${n}`, ...large)));
  etcd.requests.length = 0;
  for (const one of all) server(0).put(one);
  await advance(clock, 1000);
  for (const { lease } of all) void server(0).store.change(lease, { state: 'draining' });
  await advance(clock, 1000);
  expect(showStates(1)).toEqual(Object.fromEntries(all.map((one) => [one.replica.id, 'draining'])));
  const sizes = etcd.requests.map(({ bytes }) => bytes).filter((bytes) => bytes > 1000);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024);
  // Four new records in a batch; two that are written again, because their values are in it twice.
  expect(sizes).toHaveLength(3 + 5);
});
