import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseRegistration } from '../../src/api/registration.js';
import { serializeValidationIssues } from '../../src/api/validation-issues.js';
import { CapabilityIndex } from '../../src/core/index/capability-index.js';
import { prepareQuery, registration } from '../support/replicas.js';
import { measureRetainedBytes } from '../support/retained-memory.js';
import { createSeededRandom } from '../support/seeded-random.js';

const HEAD = '{"replica_id":"r","endpoint":"h:1","capabilities":[';
const repeatText = (count: number, make: (n: number) => string): string =>
  Array.from({ length: count }, (_, n) => make(n)).join();
const formatObjects = (count: number, make: (n: number) => string): string =>
  `${HEAD}${repeatText(count, (n) => `{${make(n)}}`)}]}`;
const formatExtra = (text: string): string => `${HEAD}],"x":${text}}`;

/** Creates bodies at a limit of registrations if `share` is 1, or the same shape at a share of the limit. */
const SHAPES: readonly [string, (share: number) => string][] = [
  ['objects that share their pairs', (s) => formatObjects(4096 * s, () => '"a":1,"b":"two","c":3,"d":4')],
  ['an adapter in each object', (s) => formatObjects(4096 * s, (n) => `"type":"chat","model":"adapter-${n}"`)],
  ['unique pairs', (s) => formatObjects(4096 * s, (n) => repeatText(4, (m) => `"k${n}-${m}":"${n}"`))],
  ['objects of 32 pairs', (s) => formatObjects(512 * s, (n) => repeatText(32, (m) => `"k${m}":"${n}-${m}"`))],
  ['long values', (s) => formatObjects(3900 * s, (n) => `"model":"${String(n).padEnd(250, 'x')}"`)],
  ['long values of wide characters', (s) => formatObjects(3900 * s, (n) => `"model":"${String(n).padEnd(85, '漢')}"`)],
  ['escapes', (s) => formatObjects(3900 * s, (n) => `"model":"${'\\u0041'.repeat(40)}${n}"`)],
  ['one text of escapes', (s) => formatExtra(`"${'\\n'.repeat(500_000 * s)}"`)],
  ['one text of escapes with an invalid one at the end', (s) => formatExtra(`"${'\\n'.repeat(500_000 * s)}\\x"`)],
  ['a million numbers', (s) => formatExtra(`[${'0,'.repeat(500_000 * s)}0]`)],
  ['empty objects', (s) => formatExtra(`[${'{},'.repeat(340_000 * s)}0]`)],
  ['deep nesting', (s) => formatExtra(`[${repeatText(8000 * s, () => '['.repeat(60) + ']'.repeat(60))}]`)],
  ['names', (s) => formatExtra(`{${repeatText(60_000 * s, (n) => `"name-${n}":0`)}}`)],
  ['one repeated name', (s) => formatObjects(1, () => `${'"a":1,'.repeat(160_000 * s)}"a":1`)],
  ['spaces', (s) => formatExtra(`${' '.repeat(1_000_000 * s)}1`)],
  ['digits', (s) => formatExtra(`0.${'1'.repeat(1_000_000 * s)}`)],
  ['no known field', (s) => `{"x":[${repeatText(4000 * s, () => `"${'x'.repeat(240)}"`)}]}`],
  ['numbers in place of objects', (s) => `${HEAD}${repeatText(4096 * s, (n) => String(n))}]}`],
];

/** Returns the CPU time of this thread, in ms. It does not include other processes. */
function readCpuMs(): number {
  return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6;
}

/** Measures the CPU time to parse bodies and to index and remove or reject each one, in ms. */
function measureCostMs(bodies: readonly string[]): number {
  const before = readCpuMs();
  for (const body of bodies) {
    const outcome = parseRegistration(body);
    if (outcome.kind === 'invalid') serializeValidationIssues(outcome.issues);
    else {
      const index = new CapabilityIndex();
      index.put(registration('lease', outcome.replica));
      index.delete(outcome.replica.id);
    }
  }
  return readCpuMs() - before;
}

function measureBestOf(rounds: number, measure: () => number): number {
  return Math.min(...Array.from({ length: rounds }, measure));
}

describe('parsing, indexing and removing a registration', () => {
  // Twice the documented 50 ms, because this runs in parallel with other tests on cores that share their caches.
  it.each(SHAPES)(
    'takes at most 100 ms, and not much longer than eight registrations of an eighth: %s',
    (_shape, bodyOf) => {
      const [whole, part] = [bodyOf(1), bodyOf(1 / 8)];
      expect(Buffer.byteLength(whole)).toBeLessThanOrEqual(1024 * 1024);
      const wholeMs = measureBestOf(7, () => measureCostMs([whole]));
      const partsMs = measureBestOf(3, () => measureCostMs(Array(8).fill(part)));
      expect(wholeMs).toBeLessThan(100);
      expect(wholeMs).toBeLessThan(3 * partsMs + 20);
    },
  );

  it('takes no longer when the results of many queries are cached', () => {
    const body = formatObjects(512, (n) => `${repeatText(31, (m) => `"k${m}":1`)},"own":${n}`);
    const outcome = parseRegistration(body);
    if (outcome.kind === 'invalid') throw new Error(serializeValidationIssues(outcome.issues));
    const random = createSeededRandom(1);
    const index = new CapabilityIndex();
    index.put(registration('l0', outcome.replica));
    for (let n = 0; n < 5000; n++) {
      const names = Array.from({ length: 31 }, (_, m) => `k${m}`).filter(() => random.fraction() < 0.4);
      const asked = prepareQuery(Object.fromEntries(names.slice(0, 15).map((name) => [name, '1'])));
      for (let again = 0; again < 3; again++) index.choose(asked, new Set(), random);
    }
    const before = readCpuMs();
    index.delete(outcome.replica.id);
    index.put(registration('l1', outcome.replica));
    expect(readCpuMs() - before).toBeLessThan(100);
    expect(index.choose(prepareQuery({ k1: '1', own: '7' }), new Set(), random)?.lease).toBe('l1');
  });
});

describe('a registration of 4,096 objects', () => {
  it('takes no more memory than its text and 200 bytes per object', () => {
    const body = formatObjects(4096, (n) => `"type":"chat","model":"an-adapter-of-some-name-${n % 100}"`);
    // The least of several: compiled code and feedback of the functions count too when they are allocated meanwhile.
    const bytes = measureBestOf(5, () => measureRetainedBytes(() => parseRegistration(body)));
    expect(bytes).toBeLessThan(body.length + 4096 * 200);
  });
});
