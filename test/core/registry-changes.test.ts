import { expect, it } from 'vitest';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, replica, TEST_REGISTRY } from '../support/replicas.js';

const TERMS = { host: 'h', ttlMs: 9000 };

/** Creates a registry, and the list of its changes: `1 put r1 ready, was not registered`. */
function createRegistry() {
  const clock = new ManualClock();
  const events = { emit: () => {} };
  const store = new MemoryStore(TEST_REGISTRY);
  const registry = new Registry({ store, clock, random: { fraction: () => 0 }, ids: createCountingIds(), events });
  const seen: string[] = [];
  const unsubscribe = registry.changes.subscribe(({ revision, replicaId, registration, previous, reason }) => {
    const was = previous ? `was ${previous.lease} ${previous.state}` : 'was not registered';
    // The list has the change already, and nothing of later ones.
    expect([registry.changes.revision, registry.find(replicaId)?.registration]).toEqual([revision, registration]);
    seen.push(
      `${revision} ${replicaId} ${registration ? `${registration.lease} ${registration.state}` : reason}, ${was}`,
    );
  });
  return { registry, clock, seen, unsubscribe };
}

it('a registry reports each change of its list once, in order', async () => {
  const { registry, clock, seen, unsubscribe } = createRegistry();
  const first = await registry.register(replica('r1', { type: 'chat' }), TERMS, () => {});
  await registry.renew(first);
  await registry.renew(first, 'unready');
  await registry.renew(first, 'unready');
  await registry.register(replica('r1', { type: 'chat' }), { ...TERMS, state: 'draining' }, () => {});
  await registry.release(first, 'closed');
  const second = await registry.register(replica('r2'), { host: 'other' }, () => {});
  clock.advance(10_000);
  await registry.release(second, 'released');
  expect(seen).toEqual([
    '1 r1 lease-1 ready, was not registered',
    '2 r1 lease-1 unready, was lease-1 ready',
    '3 r1 lease-2 draining, was lease-1 unready',
    '4 r2 lease-3 ready, was not registered',
    '5 r1 expired, was lease-2 draining',
    '6 r2 released, was lease-3 ready',
  ]);
  unsubscribe();
  await registry.register(replica('r3'), TERMS, () => {});
  expect([seen.length, registry.changes.revision, registry.changes.epoch]).toEqual([6, 7, 'server-1']);
});
