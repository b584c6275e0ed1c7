import { beforeEach, expect, it } from 'vitest';
import type { LeaseId } from '../../../src/core/ids.js';
import { Registry } from '../../../src/core/registry.js';
import { ManualClock } from '../../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { SimulatedEtcd } from '../../support/simulated-etcd.js';
import { advance, SimulatedStore } from '../../support/simulated-stores.js';

const SERVERS = [0, 1, 2];
const TTL_MS = 9000;

let clock: ManualClock;
let stores: SimulatedStore[];
let registries: Registry[];
/** The leases of each server: those of two hosts with one replica each. */
let leases: LeaseId[][];

beforeEach(async () => {
  clock = new ManualClock();
  const etcd = new SimulatedEtcd(clock);
  stores = SERVERS.map((n) => new SimulatedStore(etcd, clock, n));
  registries = stores.map(({ store }, n) => {
    const ids = { ...createCountingIds(), createLeaseId: () => `lease-${n}-${++granted}` as LeaseId };
    const events = createRecordingEvents();
    return new Registry({ store, clock, random: createSeededRandom(n), ids, events });
  });
  let granted = 0;
  for (const { store } of stores) void store.start();
  await advance(clock, 2000);
  leases = [];
  for (const [n, registry] of registries.entries()) {
    const register = (host: string): Promise<LeaseId> =>
      registry.register(replica(`r-${n}-${host}`), { host: `${n}-${host}`, ttlMs: TTL_MS }, () => {});
    const both = Promise.all([register('a'), register('b')]);
    await advance(clock, 1000);
    leases.push(await both);
  }
  await advance(clock, 1000);
});

/** Advances time, and renews the leases of these servers every second. */
async function run(ms: number, renewing: readonly number[]): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= 1000) {
    for (const n of renewing) for (const lease of leases[n] ?? []) void registries[n]?.renew(lease);
    await advance(clock, 1000);
  }
}

function countSuspects(): number {
  const known = registries.flatMap((registry, n) =>
    [...registry.known()].filter(({ registration }) => registration.replica.id.startsWith(`r-${n}`)),
  );
  return known.filter(({ registration }) => registration.state === 'suspect').length;
}

it('a server counts the hosts of the others', async () => {
  expect(stores[0]?.store.countOtherHosts()).toEqual({ hosts: 4, silent: 0 });
  await run(11_000, [0, 1]);
  expect(stores[0]?.store.countOtherHosts()).toEqual({ hosts: 4, silent: 2 });
  await run(12_000, [0, 1]);
  expect(stores[0]?.store.countOtherHosts()).toEqual({ hosts: 2, silent: 0 });
});

it('counts nothing when the markers of the others are old', async () => {
  (stores[0] as SimulatedStore).link.isCut = true;
  await run(6000, SERVERS);
  expect(stores[0]?.store.countOtherHosts()).toEqual({ hosts: 0, silent: 0 });
});

it('the hosts of one of three servers fall silent: they are removed', async () => {
  await run(11_000, [0, 1]);
  expect(registries[2]?.replicas().map(({ id }) => id)).toEqual(['r-0-a', 'r-0-b', 'r-1-a', 'r-1-b']);
});

it('the hosts of all three servers fall silent, two at each: half of them are suspected, not removed', async () => {
  await run(11_500, []);
  expect(countSuspects()).toBe(3);
});
