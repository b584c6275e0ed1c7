/**
 * Process with an API server of the scale benchmark, and the replicas that it holds without connections.
 * Usage: scale-server.js ENDPOINT REPLICAS. ENDPOINT is that of an etcd server, or `memory`.
 */
import { SerializedReplica } from '../src/api/serialized-replica.js';
import { asEndpoint, asReplicaId, type LeaseId } from '../src/core/ids.js';
import type { Clock, RegistrationStore } from '../src/core/ports.js';
import { Registry } from '../src/core/registry.js';
import { createCapability } from '../src/json/capability-json.js';
import { startHttpApi } from '../src/server/api-server.js';
import { RegistryParts } from '../src/server/registry-parts.js';
import { EtcdStore } from '../src/store/etcd/etcd-store.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { ids, random, clock as systemClock } from '../src/system.js';
import { createTestEtcdClient, createTestEtcdThread } from '../test/support/etcd-process.js';
import { answerQuestions } from './child-process.js';
import { readMonotonicUs } from './figures.js';
import { OWN_USAGE } from './own-usage.js';

const SILENT = { emit: () => {}, subscribe: () => () => {} };
const STEP_MS = 5;

/** Minimum delay of the task that lists etcd again, in ms. No other task has such a long delay. */
const RELIST_MIN_DELAY_MS = 200_000;

/** The cost of a complete list. */
export interface RelistCost {
  /** Time until the last page has arrived and was compared, in ms. */
  readonly tookMs: number;
  readonly cpuMs: number;
  readonly stallMs: number;
}

/** Changes to make. `bare`: writes of keys by a client of etcd, without the store. */
export interface ScaleChanges {
  readonly perSecond: number;
  readonly durationMs: number;
  readonly bare?: boolean;
}

/** Number of a replica or a bare key, and the time of its change or of its arrival. See {@link readMonotonicUs}. */
export type Timed = readonly [number: number, atUs: number];

let relist = (): void => {};
const clock: Clock = {
  ...systemClock,
  schedule(delayMs, task, options) {
    if (delayMs > RELIST_MIN_DELAY_MS) relist = task;
    return systemClock.schedule(delayMs, task, options);
  },
};

const [endpoint = '', size] = process.argv.slice(2);
const count = Number(size);
let listedAtUs = 0;

function createStore(): RegistrationStore<SerializedReplica> {
  if (endpoint === 'memory') return new MemoryStore(ids.createRegistryId());
  const api = createTestEtcdThread([endpoint]);
  const range = api.range.bind(api);
  api.range = async (request) => {
    const page = await range(request);
    // The store applies the list before the next immediate.
    if (!page.more) setImmediate(() => (listedAtUs = readMonotonicUs()));
    return page;
  };
  return new EtcdStore({
    api,
    prefix: '/scale',
    clock,
    random,
    ids,
    createReplica: (replica) => new SerializedReplica(replica),
    events: SILENT,
  });
}

let arrivals: Timed[] = [];
const store = createStore();
store.subscribe((event) => {
  if (event.kind === 'change') {
    arrivals.push([Number(event.registration.replica.id.slice('replica-'.length)), readMonotonicUs()]);
  }
});
await store.start?.();
const registry = new Registry({ store, clock, random, ids, events: SILENT });
const leases: LeaseId[] = [];

async function register(n: number): Promise<void> {
  const capability = createCapability({ model: `model-${n % 200}`, type: `type-${n % 5}`, number: n });
  const replica = new SerializedReplica({
    id: asReplicaId(`replica-${n}`),
    endpoint: asEndpoint(`10.0.${n >> 8}.${n & 255}:50051`),
    capabilities: [capability],
  });
  leases[n] = await registry.register(replica, { host: '10.0.0.1' }, () => {});
}

let next = 0;
/** The client of the bare writes and watches. It connects when it is used. */
const bareClient = createTestEtcdClient([endpoint]);
let bareWatch = (): void => {};

/** Changes one replica, or one bare key, after the other, evenly over the duration. Returns the time of each change. */
function change({ perSecond, durationMs, bare = false }: ScaleChanges): Promise<Timed[]> {
  const times: Timed[] = [];
  const startUs = readMonotonicUs();
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      const passedMs = (readMonotonicUs() - startUs) / 1000;
      while (times.length < (Math.min(durationMs, passedMs) / 1000) * perSecond) {
        const n = next++;
        times.push([bare ? n : n % count, readMonotonicUs()]);
        if (bare) void putBareKey(n);
        else void registry.renew(leases[n % count] as LeaseId, Math.floor(n / count) % 2 === 0 ? 'unready' : 'ready');
      }
      if (passedMs < durationMs) return;
      clearInterval(timer);
      resolve(times);
    }, STEP_MS);
  });
}

function putBareKey(n: number): Promise<unknown> {
  const value = { key: Buffer.from(`/bare/${n}`), value: Buffer.alloc(300), lease: 0n, ignoreLease: false };
  return bareClient.txn({ compare: [], success: [{ request: { $case: 'requestPut', value } }], failure: [] });
}

/** Records the arrivals of bare keys, as a program without a store does. */
function watchBareKeys(): void {
  const request = { key: Buffer.from('/bare/'), rangeEnd: Buffer.from('/bare0'), startRevision: 0n, fragment: false };
  const stream = bareClient.openWatch(request, {
    onResponse({ events }) {
      for (const { kv } of events) {
        arrivals.push([
          Number(
            Buffer.from(kv?.key ?? [])
              .toString()
              .slice('/bare/'.length),
          ),
          readMonotonicUs(),
        ]);
      }
    },
    onEnd(error) {
      throw error;
    },
  });
  bareWatch = () => stream.cancel();
}

/** Makes the complete list that is due every few minutes. */
async function measureRelist(): Promise<RelistCost> {
  const before = process.cpuUsage();
  const [startUs, previousUs] = [readMonotonicUs(), listedAtUs];
  let lastUs = startUs;
  let stallMs = 0;
  relist();
  while (listedAtUs === previousUs) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const nowUs = readMonotonicUs();
    stallMs = Math.max(stallMs, (nowUs - lastUs) / 1000 - 1);
    lastUs = nowUs;
  }
  const { user, system } = process.cpuUsage(before);
  return { tookMs: (listedAtUs - startUs) / 1000, cpuMs: (user + system) / 1000, stallMs };
}

answerQuestions({
  change,
  /** Registers the replicas. Returns the time until etcd has all, in ms. */
  async load() {
    const startUs = readMonotonicUs();
    await Promise.all(Array.from({ length: count }, (_, n) => register(n)));
    return (readMonotonicUs() - startUs) / 1000;
  },
  relist: measureRelist,
  /** Returns the number of listed replicas. */
  count: () => registry.replicas().length,
  watchBareKeys,
  stopBareWatch: () => bareWatch(),
  /** Returns the arrivals since the last question. */
  arrivals() {
    const taken = arrivals;
    arrivals = [];
    return taken;
  },
  ...OWN_USAGE,
});
const times = { heartbeatMs: 2000, ackTimeoutMs: 3000, warmingMs: 0 };
const parts = new RegistryParts({ registry, events: SILENT, clock, random, ids });
console.log((await startHttpApi({ parts, clock, events: SILENT, ...times, host: '127.0.0.1', port: 0 })).port);
