/**
 * Looking a replica up by what it can do, against a scan of the whole list: queries that come again, the same ones made
 * anew, queries never seen, registering and leaving while queries run, and the memory of the index. A replica has a model
 * out of 200 (Zipf), and one of 5 types, 4 gpus, 8 regions and 3 tiers; a query has 1 to 3 of these.
 */
import { listPairs } from '../src/core/capability.js';
import { CapabilityIndex } from '../src/core/index/capability-index.js';
import { PreparedQuery } from '../src/core/index/prepared-query.js';
import type { Registration } from '../src/core/replica.js';
import { createLinearIndex } from '../test/support/linear-index.js';
import { preparedQuery, registration, replica } from '../test/support/replicas.js';
import { seededRandom } from '../test/support/seeded-random.js';
import { built, start } from './child-process.js';
import { median, medianRatio, nowUs, quantile } from './figures.js';
import { type Row, report } from './report.js';

const ROUNDS = 11;
const CHURN = 5000;
const SIZES = [1000, 10_000, 100_000, 1_000_000];
const random = seededRandom(1);
const below = (most: number): number => Math.floor(random.fraction() * most);

const zipf = Array.from({ length: 200 }, (_, at) => 1 / (at + 1));
const total = zipf.reduce((sum, weight) => sum + weight, 0);

function someModel(): string {
  let left = random.fraction() * total;
  const at = zipf.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return `model-${Math.max(at, 0)}`;
}

const KEYS = {
  model: someModel,
  type: () => `type-${below(5)}`,
  gpu: () => `gpu-${below(4)}`,
  region: () => `region-${below(8)}`,
  tier: () => `tier-${below(3)}`,
};
const NAMES = Object.keys(KEYS) as (keyof typeof KEYS)[];

function someReplica(n: number): Registration {
  const pairs = Object.fromEntries(NAMES.map((name) => [name, KEYS[name]()]));
  return registration(`lease-${n}`, replica(`replica-${n}`, pairs));
}

function someQuery(): PreparedQuery {
  const names = [...NAMES].sort(() => random.fraction() - 0.5).slice(0, 1 + below(3));
  return preparedQuery(Object.fromEntries(names.map((name) => [name, KEYS[name]()])));
}

const NOBODY: ReadonlySet<never> = new Set();

/** Microseconds a choice. */
function perChoice(index: Pick<CapabilityIndex, 'choose'>, queries: readonly PreparedQuery[]): number {
  const start = nowUs();
  for (const asked of queries) index.choose(asked, NOBODY, random);
  return (nowUs() - start) / queries.length;
}

function heapBytes(): number {
  global.gc?.();
  global.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** All figures of an index of so many replicas. */
function measure(size: number): Row {
  const empty = heapBytes();
  const registrations = Array.from({ length: size }, (_, n) => someReplica(n));
  const payload = heapBytes();
  const index = new CapabilityIndex();
  for (const one of registrations) index.put(one);
  const hotQueries = Array.from({ length: 100 }, someQuery);
  for (let again = 0; again < 3; again++) perChoice(index, hotQueries);
  const indexed = heapBytes();

  const manyHot = Array.from({ length: 100_000 }, () => hotQueries[below(hotQueries.length)] as (typeof hotQueries)[0]);
  const linear = createLinearIndex();
  for (const one of registrations) linear.put(one);
  for (let again = 0; again < 3; again++) perChoice(index, manyHot);
  const hotUs: number[] = [];
  const anewUs: number[] = [];
  const linearUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const madeAnew = manyHot.map((asked) => new PreparedQuery([...asked.pairs]));
    hotUs.push(perChoice(index, manyHot));
    anewUs.push(perChoice(index, madeAnew));
    linearUs.push(perChoice(linear, hotQueries.slice(0, size > 100_000 ? 5 : 30)));
  }

  const unseen = new CapabilityIndex();
  for (const one of registrations) unseen.put(one);
  const seen = new Set<string>();
  const coldUs: number[] = [];
  while (coldUs.length < 500) {
    const asked = someQuery();
    const key = JSON.stringify(listPairs(asked.pairs).sort());
    if (seen.has(key)) continue;
    seen.add(key);
    const start = nowUs();
    unseen.choose(asked, NOBODY, random);
    coldUs.push(nowUs() - start);
  }

  const churnUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = nowUs();
    for (let n = 0; n < CHURN; n++) {
      const gone = registrations[below(size)] as Registration;
      index.delete(gone.replica.id);
      index.put(gone);
      if (n % 10 === 0) index.choose(hotQueries[n % 100] as (typeof hotQueries)[0], NOBODY, random);
    }
    churnUs.push((nowUs() - start) / CHURN);
  }
  return {
    what: `${size} replicas`,
    hotUs: Number(median(hotUs).toFixed(3)),
    anewUs: Number(median(anewUs).toFixed(3)),
    linearUs: Number(median(linearUs).toFixed(1)),
    timesFaster: Math.round(medianRatio(linearUs, hotUs)),
    coldP50Us: Number(median(coldUs).toFixed(1)),
    coldP99Us: Number(quantile(coldUs, 0.99).toFixed(1)),
    leaveAndRegisterUs: Number(median(churnUs).toFixed(2)),
    indexBytesEach: Math.round((indexed - payload) / size),
    payloadBytesEach: Math.round((payload - empty) / size),
  };
}

/** Each size has a process of its own, so that none works in what another has left. */
async function measureAll(): Promise<void> {
  const rows: Row[] = [];
  for (const size of SIZES) rows.push(JSON.parse((await start(built('lookup', String(size)), { core: 0 })).line));
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
