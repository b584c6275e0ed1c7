import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { LeaseId } from '../../src/core/ids.js';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ids, random } from '../../src/system.js';
import { FleetCounts } from '../../src/telemetry/fleet-counts.js';
import type { Sample } from '../../src/telemetry/label-counts.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingEvents, replica } from '../support/replicas.js';

const STEP = fc.record({
  action: fc.constantFrom('register', 'ready', 'unready', 'draining', 'cordon', 'uncordon', 'release', 'offer'),
  id: fc.constantFrom('r1', 'r2', 'r3'),
  model: fc.constantFrom('a', 'b'),
});

const toRecord = (samples: Iterable<Sample>): Record<string, number> =>
  Object.fromEntries([...samples].map(([labels, count]) => [labels.join(), count]).filter(([, count]) => count !== 0));

/** Counts from the whole list, as a scrape must not. */
function countFromList(registry: Registry): { states: Record<string, number>; offers: Record<string, number> } {
  const [states, offers]: Record<string, number>[] = [{}, {}];
  const add = (counts: Record<string, number> = {}, label: string): void => {
    counts[label] = (counts[label] ?? 0) + 1;
  };
  for (const { registration } of registry.known()) {
    const { state, cordon, replica: one } = registration;
    add(states, cordon?.cordoned ? 'cordoned' : state);
    if (cordon?.cordoned || (state !== 'ready' && state !== 'suspect')) continue;
    for (const model of new Set(one.capabilities.map(({ pairs }) => pairs[1] ?? ''))) add(offers, model);
  }
  return { states: states ?? {}, offers: offers ?? {} };
}

it('the counts are those of the list, whatever happens', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 30 }), async (steps) => {
      const clock = new ManualClock();
      const store = new MemoryStore(ids.createRegistryId());
      const registry = new Registry({ store, clock, random, ids, events: createRecordingEvents() });
      const leases = new Map<string, LeaseId>();
      let counts: FleetCounts | undefined;
      for (const { action, id, model } of steps) {
        const lease = leases.get(id);
        const one = replica(id, { model });
        if (action === 'register') leases.set(id, await registry.register(one, { host: 'h' }, () => {}));
        else if (action === 'cordon') await registry.cordons.set(one.id, { cordoned: true, reason: '' });
        else if (action === 'uncordon') await registry.cordons.set(one.id, { cordoned: false, reason: '' });
        else if (lease && action === 'release') await registry.release(lease, 'released');
        else if (lease && action === 'offer') await registry.renew(lease, undefined, () => one);
        else if (lease && action !== 'release' && action !== 'offer') await registry.renew(lease, action);
        // Created late, so that it also counts what was there before.
        counts ??= new FleetCounts(registry, ['model'], clock);
        const expected = countFromList(registry);
        expect(toRecord(counts.states.listSamples())).toEqual(expected.states);
        expect(toRecord(counts.offers.listSamples())).toEqual(expected.offers);
        clock.advance(2000);
      }
    }),
  );
});
