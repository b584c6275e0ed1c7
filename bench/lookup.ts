/**
 * Measures the capability index against a linear scan: repeated queries, the same queries as new objects, new queries,
 * deregistration and registration between queries, and the memory of the index. A replica has one of 200 models (Zipf
 * distribution), 5 types, 4 gpus, 8 regions and 3 tiers. A query has 1 to 3 of these pairs.
 */
import { listPairs } from '../src/core/capability.js';
import { CapabilityIndex } from '../src/core/index/capability-index.js';
import { PreparedQuery } from '../src/core/index/prepared-query.js';
import type { Registration } from '../src/core/replica.js';
import { NO_EXCLUSIONS } from '../src/core/routable-replicas.js';
import { createLinearIndex } from '../test/support/linear-index.js';
import { prepareQuery, registration, replica } from '../test/support/replicas.js';
import { createSeededRandom } from '../test/support/seeded-random.js';
import { getBuiltCommand, start } from './child-process.js';
import { computeMedian, computeMedianRatio, computeQuantile, readMonotonicUs } from './figures.js';
import { type Row, report } from './report.js';

const ROUNDS = 11;
const CHURN = 5000;
const SIZES = [1000, 10_000, 100_000, 1_000_000];
const random = createSeededRandom(1);
const drawBelow = (limit: number): number => Math.floor(random.fraction() * limit);

const zipf = Array.from({ length: 200 }, (_, index) => 1 / (index + 1));
const total = zipf.reduce((sum, weight) => sum + weight, 0);

function drawModel(): string {
  let left = random.fraction() * total;
  const index = zipf.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return `model-${Math.max(index, 0)}`;
}

const KEYS = {
  model: drawModel,
  type: () => `type-${drawBelow(5)}`,
  gpu: () => `gpu-${drawBelow(4)}`,
  region: () => `region-${drawBelow(8)}`,
  tier: () => `tier-${drawBelow(3)}`,
};
const NAMES = Object.keys(KEYS) as (keyof typeof KEYS)[];

function drawRegistration(n: number): Registration {
  const pairs = Object.fromEntries(NAMES.map((name) => [name, KEYS[name]()]));
  return registration(`lease-${n}`, replica(`replica-${n}`, pairs));
}

function drawQuery(): PreparedQuery {
  const names = [...NAMES].sort(() => random.fraction() - 0.5).slice(0, 1 + drawBelow(3));
  return prepareQuery(Object.fromEntries(names.map((name) => [name, KEYS[name]()])));
}

/** Returns the mean duration of a choice, in µs. */
function measureChoiceUs(index: Pick<CapabilityIndex, 'choose'>, queries: readonly PreparedQuery[]): number {
  const start = readMonotonicUs();
  for (const query of queries) index.choose(query, NO_EXCLUSIONS, random);
  return (readMonotonicUs() - start) / queries.length;
}

function measureHeapBytes(): number {
  global.gc?.();
  global.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Measures an index of `size` replicas. */
function measure(size: number): Row {
  const empty = measureHeapBytes();
  const registrations = Array.from({ length: size }, (_, n) => drawRegistration(n));
  const payload = measureHeapBytes();
  const index = new CapabilityIndex();
  for (const one of registrations) index.put(one);
  const hotQueries = Array.from({ length: 100 }, drawQuery);
  for (let again = 0; again < 3; again++) measureChoiceUs(index, hotQueries);
  const indexed = measureHeapBytes();

  const manyHot = Array.from(
    { length: 100_000 },
    () => hotQueries[drawBelow(hotQueries.length)] as (typeof hotQueries)[0],
  );
  const linear = createLinearIndex();
  for (const one of registrations) linear.put(one);
  for (let again = 0; again < 3; again++) measureChoiceUs(index, manyHot);
  const hotUs: number[] = [];
  const newObjectUs: number[] = [];
  const linearUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const newObjects = manyHot.map(({ pairs }) => new PreparedQuery([...pairs]));
    hotUs.push(measureChoiceUs(index, manyHot));
    newObjectUs.push(measureChoiceUs(index, newObjects));
    linearUs.push(measureChoiceUs(linear, hotQueries.slice(0, size > 100_000 ? 5 : 30)));
  }

  const unseen = new CapabilityIndex();
  for (const one of registrations) unseen.put(one);
  const seen = new Set<string>();
  const coldUs: number[] = [];
  while (coldUs.length < 500) {
    const query = drawQuery();
    const key = JSON.stringify(listPairs(query.pairs).sort());
    if (seen.has(key)) continue;
    seen.add(key);
    const start = readMonotonicUs();
    unseen.choose(query, NO_EXCLUSIONS, random);
    coldUs.push(readMonotonicUs() - start);
  }

  const churnUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = readMonotonicUs();
    for (let n = 0; n < CHURN; n++) {
      const gone = registrations[drawBelow(size)] as Registration;
      index.delete(gone.replica.id);
      index.put(gone);
      if (n % 10 === 0) index.choose(hotQueries[n % 100] as (typeof hotQueries)[0], NO_EXCLUSIONS, random);
    }
    churnUs.push((readMonotonicUs() - start) / CHURN);
  }
  return {
    what: `${size} replicas`,
    hotUs: Number(computeMedian(hotUs).toFixed(3)),
    newObjectUs: Number(computeMedian(newObjectUs).toFixed(3)),
    linearUs: Number(computeMedian(linearUs).toFixed(1)),
    timesFaster: Math.round(computeMedianRatio(linearUs, hotUs)),
    coldP50Us: Number(computeMedian(coldUs).toFixed(1)),
    coldP99Us: Number(computeQuantile(coldUs, 0.99).toFixed(1)),
    leaveAndRegisterUs: Number(computeMedian(churnUs).toFixed(2)),
    indexBytesEach: Math.round((indexed - payload) / size),
    payloadBytesEach: Math.round((payload - empty) / size),
  };
}

/** Measures each size in a separate process, so that none inherits the heap of another. */
async function measureAll(): Promise<void> {
  const rows: Row[] = [];
  for (const size of SIZES)
    rows.push(JSON.parse((await start(getBuiltCommand('lookup', String(size)), { core: 0 })).line));
  report({
    name: 'lookup',
    rows,
    compared: {
      timesFaster: 'more',
      coldP99Us: 'less',
      leaveAndRegisterUs: 'less',
      indexBytesEach: 'less',
      payloadBytesEach: 'less',
    },
  });
}

const [size] = process.argv.slice(2);
if (size === undefined) await measureAll();
else {
  console.log(JSON.stringify(measure(Number(size))));
  process.disconnect();
}
