/** Process with the API server of the watch benchmark. Its replicas change their state on request. */
import { SerializedReplica } from '../src/api/serialized-replica.js';
import { asEndpoint, asReplicaId, type LeaseId } from '../src/core/ids.js';
import { Registry } from '../src/core/registry.js';
import { createCapability } from '../src/json/capability-json.js';
import { startHttpApi } from '../src/server/api-server.js';
import { RegistryParts } from '../src/server/registry-parts.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { answerQuestions } from './child-process.js';
import { readMonotonicUs } from './figures.js';
import { OWN_USAGE } from './own-usage.js';

const SILENT = { emit: () => {}, subscribe: () => () => {} };
const STEP_MS = 5;

/** Changes to make. */
export interface Changes {
  readonly perSecond: number;
  readonly durationMs: number;
}

/** The time of each change by its revision, see {@link readMonotonicUs}, and the longest stall of the event loop meanwhile. */
export interface ChangeTimes {
  readonly timesUs: readonly (readonly [revision: number, atUs: number])[];
  readonly stallMs: number;
}

const count = Number(process.argv[2]);
const store = new MemoryStore<SerializedReplica>(ids.createRegistryId());
const registry = new Registry({ store, clock, random, ids, events: SILENT });
const leases: LeaseId[] = [];
const isReady: boolean[] = Array(count).fill(true);
for (let n = 0; n < count; n++) {
  const capability = createCapability({ model: `model-${n % 200}`, type: `type-${n % 5}`, number: n });
  const replica = new SerializedReplica({
    id: asReplicaId(`replica-${n}`),
    endpoint: asEndpoint(`10.0.${n >> 8}.${n & 255}:50051`),
    capabilities: [capability],
  });
  leases.push(await registry.register(replica, { host: '10.0.0.1' }, () => {}));
}

/** Changes states, evenly over the duration. */
function change({ perSecond, durationMs }: Changes): Promise<ChangeTimes> {
  const timesUs: [number, number][] = [];
  const startUs = readMonotonicUs();
  let lastStepUs = startUs;
  let stallMs = 0;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const nowUs = readMonotonicUs();
      stallMs = Math.max(stallMs, (nowUs - lastStepUs) / 1000 - STEP_MS);
      lastStepUs = nowUs;
      const due = (Math.min(durationMs, (nowUs - startUs) / 1000) / 1000) * perSecond;
      while (timesUs.length < due) {
        const n = Math.floor(Math.random() * count);
        isReady[n] = !isReady[n];
        void registry.renew(leases[n] as LeaseId, isReady[n] ? 'ready' : 'unready');
        timesUs.push([registry.changes.revision, readMonotonicUs()]);
      }
      if ((nowUs - startUs) / 1000 < durationMs) return;
      clearInterval(timer);
      resolve({ timesUs, stallMs });
    }, STEP_MS);
  });
}

answerQuestions({
  change,
  ...OWN_USAGE,
});
const times = { heartbeatMs: 2000, ackTimeoutMs: 3000, warmingMs: 0 };
console.log(
  (
    await startHttpApi({
      parts: new RegistryParts({ registry, events: SILENT, clock, random, ids }),
      clock,
      events: SILENT,
      ...times,
      host: '127.0.0.1',
      port: 0,
    })
  ).port,
);
