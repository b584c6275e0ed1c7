import { expect, it } from 'vitest';
import { serializeHistoryEvent } from '../../src/api/event-json.js';
import type { RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { clock, ids, random } from '../../src/system.js';
import { EventBus } from '../../src/telemetry/event-bus.js';
import { EventHistory } from '../../src/telemetry/event-history.js';
import { logEvents } from '../../src/telemetry/log-events.js';
import { ServerMetrics } from '../../src/telemetry/server-metrics.js';
import { replica } from '../support/replicas.js';
import { measureHeap } from '../support/retained-memory.js';

const EVENTS = 100_000;
const MAX_GROWTH_BYTES = 1024 * 1024;

it('100,000 events leave the memory flat: log, history and metrics are bounded', async () => {
  const events = new EventBus<RegistryEvent | ServerEvent>();
  const store = new MemoryStore(ids.createRegistryId());
  const registry = new Registry({ store, clock, random, ids, events });
  const metrics = new ServerMetrics({ registry, store: {}, keys: ['model'], clock, version: '1' });
  const history = new EventHistory({ epoch: 'e', clock, serialize: serializeHistoryEvent });
  let lines = 0;
  const countLine = (): void => void lines++;
  for (const subscriber of [logEvents({ info: countLine, warn: countLine }, clock), history.record, metrics.record])
    events.subscribe(subscriber);
  let emitted = 0;
  events.subscribe(() => void emitted++);
  /** Registers and removes replicas with ids, models and addresses that never come again. */
  const churn = async (): Promise<void> => {
    for (const end = emitted + EVENTS; emitted < end; ) {
      const n = emitted;
      const one = replica(`replica-${n}`, { model: `model-${n}` });
      const lease = await registry.register(one, { host: `host-${n}` }, () => {});
      await registry.release(lease, 'released');
      const refused = { host: `host-${n}`, code: 'unauthenticated', reason: 'unknown token' } as const;
      events.emit({ kind: 'registration_refused', replicaId: one.id, ...refused });
    }
    await metrics.render();
  };
  // The first ones fill what is bounded.
  await churn();
  await churn();
  // A leak grows in each round. Data of the engine, such as compiled code, grows in some.
  const growths: number[] = [];
  for (let round = 0; round < 3 && !growths.some((growth) => growth < MAX_GROWTH_BYTES); round++) {
    const before = measureHeap();
    await churn();
    growths.push(measureHeap() - before);
  }
  expect(lines).toBeGreaterThan(EVENTS);
  expect(Math.min(...growths)).toBeLessThan(MAX_GROWTH_BYTES);
});
