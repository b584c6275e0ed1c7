import { beforeEach, describe, expect, it } from 'vitest';
import { asLeaseId, asServerId, type LeaseId } from '../../../src/core/ids.js';
import { Registry } from '../../../src/core/registry.js';
import type { Replica } from '../../../src/core/replica.js';
import { createScope } from '../../../src/core/scope.js';
import { ScopedRegistry } from '../../../src/core/scoped-registry.js';
import { createTestEtcdStore } from '../../support/etcd-store.js';
import { ManualClock } from '../../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { connectSimulatedEtcd, SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance } from '../../support/simulated-stores.js';

let clock: ManualClock;
let etcd: SimulatedEtcd;
let owner: Awaited<ReturnType<typeof startRegistry>>;
let other: typeof owner;
let lease: LeaseId;

/** Starts the registry of an API server, with its part for the scope `tenant=a`. */
async function startRegistry(name: string) {
  const [random, events] = [createSeededRandom(1), createRecordingEvents()];
  const createLeaseId = () => asLeaseId(`lease-of-${name}`);
  const ids = { ...createCountingIds(), createServerId: () => asServerId(name), createLeaseId };
  const store = createTestEtcdStore({ api: connectSimulatedEtcd(etcd, clock), clock, random, ids, events });
  const registry = new Registry<Replica>({ store, clock, random, ids, events });
  const narrow = (of: Replica, capabilities: Replica['capabilities']): Replica => ({ ...of, capabilities });
  const scope = createScope([['tenant', 'a']]);
  const scoped = new ScopedRegistry({ registry, scope, narrow, random, epoch: asServerId(`${name}-a`) });
  void store.start();
  await advance(clock, 2000);
  const takeChanges = () => {
    const kinds = events.all.splice(0).map(({ kind }) => kind);
    return { kinds, revision: registry.changes.revision, scopedRevision: scoped.changes.revision };
  };
  const takeProblems = () =>
    events.all.splice(0).flatMap((event) => (event.kind === 'store_degraded' ? [event.problem] : []));
  return { registry, takeChanges, takeProblems };
}

/** Replaces the objects of the replica that are not in the scope. */
async function changeOtherObjects(value: string): Promise<void> {
  const { capabilities } = replica('both', { tenant: 'a' }, { tenant: 'b', value });
  void owner.registry.renew(lease, undefined, (present) => ({ ...present, capabilities }));
  await advance(clock, 2000);
}

/** Puts the record of the replica at the key of another id. */
async function copyRecord(id: string): Promise<void> {
  const [key = '', value = ''] = Object.entries(etcd.dump()).find(([name]) => name.endsWith('/both')) ?? [];
  const put = { key: Buffer.from(key.replace('both', id)), value: Buffer.from(value), lease: 0n, ignoreLease: false };
  etcd.txn({ compare: [], success: [{ request: { $case: 'requestPut', value: put } }], failure: [] });
  await advance(clock, 2000);
}

beforeEach(async () => {
  clock = new ManualClock();
  etcd = new SimulatedEtcd(clock);
  owner = await startRegistry('owner');
  other = await startRegistry('other');
  const both = replica('both', { tenant: 'a' }, { tenant: 'b' });
  const registering = owner.registry.register(both, { host: 'h', ttlMs: 1e6 }, () => {});
  await advance(clock, 2000);
  lease = await registering;
  void other.registry.cordons.set(both.id, { cordoned: true, reason: 'disk' });
  await advance(clock, 2000);
});

describe('an API server that reads a record again', () => {
  it('sees no change of the replica after etcd has ended the lease of its owner', async () => {
    const before = { ...other.takeChanges(), kinds: [] };
    for (const one of etcd.leases) etcd.revoke(one);
    await advance(clock, 30_000);
    expect(Object.keys(etcd.dump()).filter((key) => key.includes('both'))).toHaveLength(1);
    expect(other.takeChanges()).toEqual(before);
  });

  it('sees no change of the cordon when the replica changes its capabilities', async () => {
    const { revision, scopedRevision } = other.takeChanges();
    await changeOtherObjects('1');
    const changes = other.takeChanges();
    expect(changes).toEqual({ kinds: ['capabilities_changed'], revision: revision + 1, scopedRevision });
  });

  it('sees no change of the cordon when the replica registers at another server', async () => {
    other.takeChanges();
    owner.takeChanges();
    const moved = replica('both', { tenant: 'a' }, { tenant: 'b' });
    void other.registry.register(moved, { host: 'h', ttlMs: 1e6 }, () => {});
    await advance(clock, 2000);
    expect(owner.takeChanges().kinds).toEqual(['removed', 'registered']);
    expect(other.takeChanges().kinds).toEqual(['removed', 'registered']);
  });
});

it('an API server ignores a record at the key of another id, and says so', async () => {
  const { revision } = other.takeChanges();
  await copyRecord('copy');
  expect(other.takeProblems()).toEqual(['ignored the record of "copy" in etcd: it is a record of "both"']);
  expect(other.registry.changes.revision).toBe(revision);
});
