import { expect, it, vi } from 'vitest';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ids, random } from '../../src/system.js';
import { ServerMetrics } from '../../src/telemetry/server-metrics.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingEvents, replica } from '../support/replicas.js';

it('a scrape does not read the list of replicas, so it takes as long with any number of them', async () => {
  const clock = new ManualClock();
  const store = new MemoryStore(ids.createRegistryId());
  const registry = new Registry({ store, clock, random, ids, events: createRecordingEvents() });
  const metrics = new ServerMetrics({ registry, store: {}, keys: ['model'], clock, version: '1' });
  const ways = (['pages', 'replicas', 'known'] as const).map((way) => vi.spyOn(registry, way));
  for (const id of ['r1', 'r2']) await registry.register(replica(id, { model: 'm' }), { host: 'h' }, () => {});
  expect(await metrics.render()).toContain('anyserve_offers{model="m"} 2');
  for (const way of ways) expect(way).not.toHaveBeenCalled();
});
