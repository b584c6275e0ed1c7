/**
 * Measures choices by a selector among many replicas: new selectors, and repeated ones. A new one can be searched in several turns
 * of the event loop, so that other requests don't wait for it. A replica has one of 200 models, a gpu, a zone, a context length, and
 * for some a mark for spot machines. A selector has 1 to 3 terms: equal, not, in, not in, exists, absent, and comparisons.
 */
import { PreparedFilter } from '../src/core/index/prepared-filter.js';
import { ReplicaList } from '../src/core/replica-list.js';
import { NO_EXCLUSIONS } from '../src/core/routable-replicas.js';
import { parseSelector } from '../src/core/selector-parser.js';
import { registration, replica } from '../test/support/replicas.js';
import { createSeededRandom } from '../test/support/seeded-random.js';
import { getBuiltCommand, start } from './child-process.js';
import { computeMedian, computeQuantile, readMonotonicUs } from './figures.js';
import { type Row, report } from './report.js';

const SIZES = [1000, 10_000, 100_000];
const SELECTORS = 2000;
const REPEATS = 200;
const random = createSeededRandom(1);
const drawBelow = (limit: number): number => Math.floor(random.fraction() * limit);
const draw = <T>(list: readonly T[]): T => list[drawBelow(list.length)] as T;

const GPUS = ['h100', 'a100', 'l40', 't4'];
const ZONES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
const CONTEXTS = [4096, 8192, 16_384, 32_768, 131_072];

function drawPairs(): Record<string, string> {
  return {
    model: `model-${drawBelow(200)}`,
    gpu: draw(GPUS),
    zone: draw(ZONES),
    ctx: String(draw(CONTEXTS)),
    ...(random.fraction() < 0.1 && { spot: 'true' }),
  };
}

const TERMS = [
  () => `model=model-${drawBelow(220)}`,
  () => `gpu in (${draw(GPUS)},${draw(GPUS)})`,
  () => `zone!=${draw(ZONES)}`,
  () => `zone notin (${draw(ZONES)},${draw(ZONES)},${draw(ZONES)})`,
  () => `ctx${draw(['>', '>=', '<', '<='])}${drawBelow(140_000)}`,
  () => draw(['spot', '!spot', 'gpu', '!tier']),
];

/** Draws a selector that was not drawn before. */
function drawSelector(seen: Set<string>): PreparedFilter {
  for (;;) {
    const text = Array.from({ length: 1 + drawBelow(3) }, () => draw(TERMS)()).join(',');
    if (seen.has(text)) continue;
    seen.add(text);
    return new PreparedFilter({ query: [], selector: parseSelector(text, 'where') });
  }
}

function measure(size: number): Row {
  const list = new ReplicaList(random);
  for (let n = 0; n < size; n++) list.put(registration(`lease-${n}`, replica(`replica-${n}`, drawPairs())));
  const seen = new Set<string>();
  // The first searches also compile the code.
  for (let n = 0; n < 200; n++) search(drawSelector(seen));
  const [searchUs, turnUs]: [number[], number[]] = [[], []];
  for (let n = 0; n < SELECTORS; n++) {
    const turns = search(drawSelector(seen));
    searchUs.push(turns.reduce((sum, us) => sum + us, 0));
    turnUs.push(...turns);
  }
  const repeated = Array.from({ length: 50 }, () => drawSelector(seen));
  for (const filter of repeated) for (let again = 0; again < 3; again++) search(filter);
  const repeatedUs = repeated.map((filter) => {
    const startedUs = readMonotonicUs();
    for (let again = 0; again < REPEATS; again++) list.search([filter], NO_EXCLUSIONS);
    return (readMonotonicUs() - startedUs) / REPEATS;
  });
  return {
    what: `${size} replicas`,
    newP50Us: Number(computeMedian(searchUs).toFixed(1)),
    newP99Us: Number(computeQuantile(searchUs, 0.99).toFixed(1)),
    newMaxUs: Number(Math.max(...searchUs).toFixed(0)),
    turnMaxUs: Number(Math.max(...turnUs).toFixed(0)),
    repeatedP50Us: Number(computeMedian(repeatedUs).toFixed(3)),
    repeatedMaxUs: Number(Math.max(...repeatedUs).toFixed(3)),
  };

  /** Searches until there is a result. Returns the duration of each turn, in µs. */
  function search(filter: PreparedFilter): readonly number[] {
    const turns: number[] = [];
    for (;;) {
      const startedUs = readMonotonicUs();
      const { kind } = list.search([filter], NO_EXCLUSIONS);
      turns.push(readMonotonicUs() - startedUs);
      if (kind !== 'unfinished') return turns;
    }
  }
}

/** Measures each size in a separate process, so that none inherits the heap of another. */
async function measureAll(): Promise<void> {
  const rows: Row[] = [];
  for (const size of SIZES)
    rows.push(JSON.parse((await start(getBuiltCommand('selectors', String(size)), { core: 0 })).line));
  report({ name: 'selectors', rows, compared: { newP50Us: 'less', newP99Us: 'less', repeatedP50Us: 'less' } });
}

const [size] = process.argv.slice(2);
if (size === undefined) await measureAll();
else {
  console.log(JSON.stringify(measure(Number(size))));
  process.disconnect();
}
