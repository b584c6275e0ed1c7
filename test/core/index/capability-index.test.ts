import { describe, expect, it } from 'vitest';
import { asReplicaId, type ReplicaId } from '../../../src/core/ids.js';
import { CapabilityIndex } from '../../../src/core/index/capability-index.js';
import type { PreparedQuery } from '../../../src/core/index/prepared-query.js';
import type { Random } from '../../../src/core/ports.js';
import type { ScalarPairs } from '../../../src/json/capability-json.js';
import { computeChiSquare } from '../../support/chi-square.js';
import { createLinearIndex } from '../../support/linear-index.js';
import { prepareQuery, registration, replica } from '../../support/replicas.js';
import { measureRetainedBytes } from '../../support/retained-memory.js';
import { createSeededRandom } from '../../support/seeded-random.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** Returns a random integer below a bound. */
function drawBelow(random: Random): (most: number) => number {
  return (most) => Math.floor(random.fraction() * most);
}

/** Creates realistic capabilities: few types, more models, and sometimes a pair that no other replica has. */
function drawCapabilities(pick: (most: number) => number, serial: number): ScalarPairs[] {
  const drawCapability = (): ScalarPairs => ({
    model: `m${pick(12)}`,
    ...(pick(4) > 0 && { type: `t${pick(3)}` }),
    ...(pick(3) === 0 && { gpu: pick(2) }),
    ...(pick(10) === 0 && { host: `h${serial}` }),
  });
  const count = [0, 1, 1, 1, 1, 2, 3][pick(7)] as number;
  return Array.from({ length: count }, () => (pick(20) === 0 ? {} : drawCapability()));
}

function drawQuery(pick: (most: number) => number): Readonly<Record<string, string>> {
  return {
    ...(pick(2) === 0 && { model: `m${pick(13)}` }),
    ...(pick(2) === 0 && { type: `t${pick(4)}` }),
    ...(pick(4) === 0 && { gpu: String(pick(2)) }),
    ...(pick(20) === 0 && { nobody: 'has it' }),
  };
}

/** Returns a prepared query; in half of the cases the one that was created for the same pairs before. */
function drawOldQuery(pick: (most: number) => number, old: Map<string, PreparedQuery>): PreparedQuery {
  const pairs = drawQuery(pick);
  const asked = (pick(2) === 0 && old.get(JSON.stringify(pairs))) || prepareQuery(pairs);
  old.set(JSON.stringify(pairs), asked);
  return asked;
}

/** Returns whether the index chose a match, or nothing if nothing matches. `toContain` would print thousands of replicas. */
function isOneOf<T>(matching: readonly T[], chosen: T | undefined): boolean {
  return chosen === undefined ? matching.length === 0 : matching.includes(chosen);
}

/** Steps per seed. The seeds are the same in each run; more steps cover more states. */
const CHURN_STEPS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 20_000);

describe('the capability index', () => {
  it.each([1, 2, 3])(`agrees with the linear index over ${CHURN_STEPS} steps of churn (seed %i)`, (seed) => {
    const random = createSeededRandom(seed);
    const pick = drawBelow(random);
    const index = new CapabilityIndex();
    const linear = createLinearIndex();
    const old = new Map<string, PreparedQuery>();
    for (let step = 0; step < CHURN_STEPS; step++) {
      const id = `r${pick(60)}`;
      if (pick(3) === 0) {
        index.delete(asReplicaId(id));
        linear.delete(asReplicaId(id));
      } else {
        const one = registration(`l${step}`, replica(id, ...drawCapabilities(pick, step)));
        index.put(one);
        linear.put(one);
      }
      const asked = drawOldQuery(pick, old);
      const excluded = pick(3) === 0 ? new Set([`r${pick(60)}`, `r${pick(60)}`].map(asReplicaId)) : NOBODY;
      const matching = linear.match(asked.pairs).filter((one) => !excluded.has(one.replica.id));
      const chosen = index.choose(asked, excluded, random);
      expect(isOneOf(matching, chosen)).toBe(true);
    }
  });

  it('agrees with the linear index for long lists', () => {
    const random = createSeededRandom(4);
    const pick = drawBelow(random);
    const index = new CapabilityIndex();
    const linear = createLinearIndex();
    const put = (n: number): void => {
      const [ones, others] = [
        { a: n % 2, b: n % 3, c: n % 5, n: n % 3000 },
        { d: n % 7, e: n % 11, f: n % 13 },
      ];
      const objects = pick(3) === 0 ? [ones, others] : [{ ...ones, ...others }];
      const one = registration(`l${n}`, replica(`r${n}`, ...objects));
      index.put(one);
      linear.put(one);
    };
    for (let n = 0; n < 9000; n++) put(n);
    for (let step = 0; step < 1500; step++) {
      const remainder = pick(9000);
      const sizes = { a: 2, b: 3, c: 5, d: 7, e: 11, f: 13, n: 3000 };
      const pairs = Object.entries(sizes).filter(() => pick(2) === 0);
      const asked = prepareQuery(
        Object.fromEntries(pairs.map(([key, size]) => [key, String((remainder + (pick(8) === 0 ? 1 : 0)) % size)])),
      );
      const matching = linear.match(asked.pairs);
      for (let again = 0; again < 3; again++) {
        const chosen = index.choose(asked, NOBODY, random);
        expect(isOneOf(matching, chosen)).toBe(true);
      }
      const gone = asReplicaId(`r${pick(9000)}`);
      index.delete(gone);
      linear.delete(gone);
      put(pick(9000));
    }
  });

  it('agrees with the linear index when there are more queries than cached results', () => {
    const random = createSeededRandom(8);
    const pick = drawBelow(random);
    const index = new CapabilityIndex();
    const linear = createLinearIndex();
    const old: PreparedQuery[] = [];
    const keys = Array.from({ length: 16 }, (_, n) => `k${n}`);
    const createValuedReplica = (names: readonly string[]): Record<string, string> =>
      Object.fromEntries(names.map((name) => [name, String(pick(4))]));
    for (let step = 0; step < 11_000; step++) {
      const id = `r${pick(100)}`;
      const one = registration(`l${step}`, replica(id, createValuedReplica(keys)));
      index.put(one);
      linear.put(one);
      const isOld = step > 0 && pick(4) === 0;
      const asked = isOld
        ? (old[pick(step)] as PreparedQuery)
        : prepareQuery(createValuedReplica(Array.from('abc', () => `k${pick(16)}`)));
      old.push(asked);
      const matching = linear.match(asked.pairs);
      for (let again = 0; again < 3; again++) {
        const chosen = index.choose(asked, NOBODY, random);
        expect(isOneOf(matching, chosen)).toBe(true);
      }
    }
  });

  /** Random numbers, and how many were drawn. */
  function createCountingRandom(seed: number): Random & { readonly fractions: number } {
    const seeded = createSeededRandom(seed);
    const counted = {
      fractions: 0,
      fraction() {
        counted.fractions++;
        return seeded.fraction();
      },
    };
    return counted;
  }

  /** Counts how often each replica is chosen, by id. */
  function countChoices(
    index: CapabilityIndex,
    random: Random,
    asked: Readonly<Record<string, string>>,
    excluded: ReadonlySet<ReplicaId> = NOBODY,
  ): Map<string, number> {
    const chosen = new Map<string, number>();
    for (let n = 0; n < 5000; n++) {
      const id = index.choose(prepareQuery(asked), excluded, random)?.replica.id ?? 'nobody';
      chosen.set(id, (chosen.get(id) ?? 0) + 1);
    }
    return chosen;
  }

  /** Limits that disable the cache. */
  const NOTHING_KEPT = { maxResults: 0, maxMatches: 0, maxMatchesPerReplica: 0, maxPairs: 0 };

  /**
   * The ways to choose: how many other replicas have the pairs in separate objects, and how many random numbers a choice then
   * draws on average, which shows that it went this way.
   */
  const WAYS = [
    ['one list', { model: 'a' }, 0, undefined, [1, 1]],
    ['a result that is kept', { model: 'a', type: 'chat' }, 0, undefined, [1, 1.1]],
    ['a result that is kept beside long lists', { tier: '1', type: 'chat' }, 5000, undefined, [1, 1.2]],
    ['a short list', { model: 'a', type: 'chat' }, 0, NOTHING_KEPT, [1, 1]],
    ['draws from lists without bitmaps', { tier: '1', type: 'chat' }, 20, NOTHING_KEPT, [2, 6]],
    ['draws that fail, and a look through the list', { tier: '1', type: 'chat' }, 1500, NOTHING_KEPT, [80, 129]],
    ['draws that fail, and a cut of bitmaps', { tier: '1', type: 'chat' }, 8000, NOTHING_KEPT, [110, 129]],
  ] as const;

  it.each(WAYS)(
    'chooses uniformly from %s, regardless of how many objects of a replica match',
    (_how, asked, others, limits, [least, most]) => {
      const random = createCountingRandom(5);
      const index = new CapabilityIndex(limits);
      for (let n = 0; n < others; n++) {
        index.put(registration(`o${n}`, replica(`o${n}`, n % 2 === 0 ? { tier: 1, type: 'embed' } : { type: 'chat' })));
      }
      for (let n = 0; n < 5; n++) {
        const pairs = { model: 'a', type: 'chat', region: 'eu', tier: '1' };
        const objects = Array.from({ length: n + 1 }, (_, at) => ({ ...pairs, at }));
        index.put(registration(`l${n}`, replica(`r${n}`, ...objects)));
        const apart = [{ region: 'eu', tier: '1' }, { type: 'chat' }];
        index.put(registration(`m${n}`, replica(`never${n}`, ...apart)));
      }
      const found = countChoices(index, random, asked);
      expect([...found.keys()].sort()).toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
      expect(computeChiSquare([...found.values()])).toBeLessThan(18.47);
      expect(random.fractions / 5000).toBeGreaterThanOrEqual(least);
      expect(random.fractions / 5000).toBeLessThanOrEqual(most);
    },
  );

  it('chooses uniformly by samples that bitmaps check', () => {
    const index = new CapabilityIndex(NOTHING_KEPT);
    const random = createSeededRandom(13);
    for (let n = 0; n < 6000; n++) {
      const pairs = { ...(n % 4 !== 0 && { tier: 1 }), ...(n % 4 !== 1 && { type: 'chat' }) };
      index.put(registration(`l${n}`, replica(`r${n}`, pairs)));
    }
    const asked = prepareQuery({ tier: '1', type: 'chat' });
    const [byRest, byThird] = [new Array<number>(12).fill(0), new Array<number>(3).fill(0)];
    for (let sample = 0; sample < 30_000; sample++) {
      const n = Number(index.choose(asked, NOBODY, random)?.replica.id.slice(1));
      byRest[n % 12] = (byRest[n % 12] as number) + 1;
      byThird[Math.floor(n / 2000)] = (byThird[Math.floor(n / 2000)] as number) + 1;
    }
    const matching = byRest.filter((_count, rest) => rest % 4 > 1);
    expect(matching.reduce((sum, count) => sum + count)).toBe(30_000);
    expect(computeChiSquare(matching)).toBeLessThan(20.5);
    expect(computeChiSquare(byThird)).toBeLessThan(13.82);
  });

  it.each([
    ['from one list', { type: 'chat' }, undefined, [1, 1]],
    ['from a cached result', { type: 'chat', region: 'eu' }, undefined, [1, 1.1]],
    ['by draws', { type: 'chat', region: 'eu' }, NOTHING_KEPT, [3, 5]],
  ] as const)('excludes replicas evenly %s', (_how, asked, limits, [least, most]) => {
    const random = createCountingRandom(9);
    const index = new CapabilityIndex(limits);
    for (let n = 0; n < 20; n++) index.put(registration(`l${n}`, replica(`r${n}`, { type: 'chat', region: 'eu' })));
    const createIdSet = (count: number): ReadonlySet<ReplicaId> =>
      new Set(Array.from({ length: count }, (_, n) => asReplicaId(`r${n}`)).concat(asReplicaId('stranger')));
    const found = countChoices(index, random, asked, createIdSet(15));
    expect([...found.keys()].sort()).toEqual(['r15', 'r16', 'r17', 'r18', 'r19']);
    expect(computeChiSquare([...found.values()])).toBeLessThan(18.47);
    expect(random.fractions / 5000).toBeGreaterThanOrEqual(least);
    expect(random.fractions / 5000).toBeLessThanOrEqual(most);
    expect(index.choose(prepareQuery(asked), createIdSet(20), random)).toBeUndefined();
  });

  it.each([
    ['of all results together', undefined],
    ['of each result', { maxResults: 4096, maxMatches: 50, maxMatchesPerReplica: 1e9, maxPairs: 16 }],
  ])('caches a bounded part %s, for any queries before the replicas register', (_what, limits) => {
    const random = createSeededRandom(11);
    const keys = Array.from({ length: 10 }, (_, n) => `k${n}`);
    const queries = keys.flatMap((a, n) =>
      keys
        .slice(n + 1)
        .flatMap((b, m) => keys.slice(n + m + 2).map((c) => prepareQuery({ [a]: '0', [b]: '0', [c]: '0' }))),
    );
    expect(queries).toHaveLength(120);
    const measureBytes = (isAsked: boolean): number =>
      measureRetainedBytes(() => {
        const index = new CapabilityIndex(limits);
        for (let n = 0; n < 20_000; n++) {
          // All replicas match all queries.
          index.put(registration(`l${n}`, replica(`r${n}`, Object.fromEntries(keys.map((key) => [key, 0])))));
          if (n === 10 && isAsked) for (const asked of [...queries, ...queries]) index.choose(asked, NOBODY, random);
        }
        return index;
      });
    expect((measureBytes(true) - measureBytes(false)) / 20_000).toBeLessThan(3000);
  });

  it('evicts a result that grew too large, and still chooses correctly', () => {
    const random = createSeededRandom(12);
    const index = new CapabilityIndex({ maxResults: 10, maxMatches: 20, maxMatchesPerReplica: 64, maxPairs: 16 });
    const asked = { type: 'chat', region: 'eu' };
    const put = (n: number): void => index.put(registration(`l${n}`, replica(`r${n}`, asked)));
    for (let n = 0; n < 17; n++) put(n);
    for (let n = 0; n < 100; n++) index.choose(prepareQuery(asked), NOBODY, random);
    for (let n = 17; n < 60; n++) put(n);
    const found = countChoices(index, random, asked);
    expect(found.size).toBe(60);
    expect(computeChiSquare([...found.values()])).toBeLessThan(98.3);
  });

  it('recognizes a pair that was registered again, whichever pair used its number in between', () => {
    const random = createSeededRandom(7);
    const index = new CapabilityIndex();
    const ask = (asked: Readonly<Record<string, string>>) =>
      index.choose(prepareQuery(asked), NOBODY, random)?.replica.id;
    for (let n = 0; n < 50; n++) {
      index.put(registration(`a${n}`, replica('r1', { model: `old${n}`, type: 'chat' })));
      for (let again = 0; again < 3; again++) expect(ask({ model: `old${n}`, type: 'chat' })).toBe('r1');
      index.put(registration(`b${n}`, replica('r1', { model: `new${n}`, type: 'chat' })));
      expect(ask({ model: `old${n}`, type: 'chat' })).toBeUndefined();
      expect(ask({ model: `new${n}`, type: 'chat' })).toBe('r1');
    }
  });

  it('recognizes it for the same prepared query too', () => {
    const index = new CapabilityIndex();
    const [old, other] = [prepareQuery({ model: 'old', type: 'chat' }), prepareQuery({ model: 'new', type: 'chat' })];
    const ask = (asked: PreparedQuery) => index.choose(asked, NOBODY, createSeededRandom(10))?.replica.id;
    for (let n = 0; n < 5; n++) {
      index.put(registration(`a${n}`, replica('r1', { model: 'old', type: 'chat' })));
      for (let again = 0; again < 5; again++) expect([ask(old), ask(other)]).toEqual(['r1', undefined]);
      index.put(registration(`b${n}`, replica('r1', { model: 'new', type: 'chat' })));
      for (let again = 0; again < 5; again++) expect([ask(old), ask(other)]).toEqual([undefined, 'r1']);
    }
  });
});

describe('the samples of a query without matches', () => {
  it('are at most a quarter of a short list, because each checks all objects of a replica', () => {
    const index = new CapabilityIndex();
    for (let n = 0; n < 40; n++) index.put(registration('lease', replica(`r${n}`, { a: 1 }, { b: 2 })));
    let samples = 0;
    const counting: Random = {
      fraction: () => {
        samples++;
        return 0.5;
      },
    };
    expect(index.choose(prepareQuery({ a: '1', b: '2' }), NOBODY, counting)).toBeUndefined();
    // One more draw chooses among the matches, of which there are none.
    expect(samples).toBe(10 + 1);
  });
});
