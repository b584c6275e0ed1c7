import { expect, it } from 'vitest';
import { asServerId } from '../../../src/core/ids.js';
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

const clock = new ManualClock();
const etcd = new SimulatedEtcd(clock);

/** Starts the registry of an API server, with its part for the scope `tenant=a`. */
async function startRegistry(name: string) {
  const [random, events] = [createSeededRandom(1), createRecordingEvents()];
  const ids = { ...createCountingIds(), createServerId: () => asServerId(name) };
  const store = createTestEtcdStore({ api: connectSimulatedEtcd(etcd, clock), clock, random, ids, events });
  const registry = new Registry<Replica>({ store, clock, random, ids, events });
  const scope = createScope([['tenant', 'a']]);
  const narrow = (of: Replica, capabilities: Replica['capabilities']): Replica => ({ ...of, capabilities });
  const scoped = new ScopedRegistry({ registry, scope, narrow, random, epoch: asServerId(`${name}-a`) });
  void store.start();
  await advance(clock, 2000);
  const list = () =>
    [...scoped.known()].map(({ registration: { replica: one } }) => [
      one.id,
      one.capabilities.map(({ source }) => source),
    ]);
  return { registry, scoped, list };
}

it('sees the objects in its scope that are registered at other API servers, and no registration of others can be replaced', async () => {
  const [first, second] = [await startRegistry('first'), await startRegistry('second')];
  const both = replica('both', { tenant: 'a' }, { tenant: 'b' });
  const registering = [both, replica('b-1', { tenant: 'b' }), replica('a-1', { tenant: 'a', n: 1 })].map((one) =>
    first.registry.register(one, { host: 'h', ttlMs: 1e6 }, () => {}),
  );
  await advance(clock, 2000);
  const [lease] = await Promise.all(registering);
  expect(second.list()).toEqual([
    ['both', ['{"tenant":"a"}']],
    ['a-1', ['{"tenant":"a","n":1}']],
  ]);
  const takeover = replica('both', { tenant: 'a' });
  expect(second.scoped.checkRegistration(takeover, { host: 'h', instance: undefined })?.message).toBe(
    'the id "both" is taken',
  );
  const { revision } = second.scoped.changes;
  const update = (...capabilities: Replica['capabilities']) =>
    first.registry.renew(lease as never, undefined, (present) => ({ ...present, capabilities }));
  void update(...replica('x', { tenant: 'a' }, { tenant: 'c' }).capabilities);
  await advance(clock, 2000);
  expect(second.scoped.changes.revision).toBe(revision);
  void update(...replica('x', { tenant: 'c' }).capabilities);
  await advance(clock, 2000);
  expect(second.list()).toEqual([['a-1', ['{"tenant":"a","n":1}']]]);
});
