import { describe, expect, it } from 'vitest';
import type { CapabilityQuery } from '../../src/core/capability.js';
import { type CapabilityIndex, createCapabilityIndex } from '../../src/core/capability-index.js';
import { asReplicaId, type ReplicaId } from '../../src/core/ids.js';
import type { Random } from '../../src/core/ports.js';
import type { ScalarPairs } from '../../src/wire/replica-json.js';
import { chiSquare } from '../support/chi-square.js';
import { createLinearIndex } from '../support/linear-index.js';
import { query, registration, replica } from '../support/replicas.js';
import { seededRandom } from '../support/seeded-random.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** Whole numbers below a bound. */
function below(random: Random): (most: number) => number {
  return (most) => Math.floor(random.fraction() * most);
}

/** Capabilities such as replicas have: few types, more models, and here and there a pair that nobody else has. */
function someCapabilities(pick: (most: number) => number, serial: number): ScalarPairs[] {
  const one = (): ScalarPairs => ({
    model: `m${pick(12)}`,
    ...(pick(4) > 0 && { type: `t${pick(3)}` }),
    ...(pick(3) === 0 && { gpu: pick(2) }),
    ...(pick(10) === 0 && { host: `h${serial}` }),
  });
  const count = [0, 1, 1, 1, 1, 2, 3][pick(7)] as number;
  return Array.from({ length: count }, () => (pick(20) === 0 ? {} : one()));
}

function someQuery(pick: (most: number) => number): Readonly<Record<string, string>> {
  return {
    ...(pick(2) === 0 && { model: `m${pick(13)}` }),
    ...(pick(2) === 0 && { type: `t${pick(4)}` }),
    ...(pick(4) === 0 && { gpu: String(pick(2)) }),
    ...(pick(20) === 0 && { nobody: 'has it' }),
  };
}

/** Half of the times the object that was made for the same pairs before. */
function someOldQuery(pick: (most: number) => number, old: Map<string, CapabilityQuery>): CapabilityQuery {
  const pairs = someQuery(pick);
  const asked = (pick(2) === 0 && old.get(JSON.stringify(pairs))) || query(pairs);
  old.set(JSON.stringify(pairs), asked);
  return asked;
}

describe('the capability index', () => {
  it.each([1, 2, 3])('chooses what the linear one would over 60,000 steps of churn (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const pick = below(random);
    const index = createCapabilityIndex();
    const linear = createLinearIndex();
    const old = new Map<string, CapabilityQuery>();
    for (let step = 0; step < 60_000; step++) {
      const id = `r${pick(60)}`;
      if (pick(3) === 0) {
        index.delete(asReplicaId(id));
        linear.delete(asReplicaId(id));
      } else {
        const one = registration(`l${step}`, replica(id, ...someCapabilities(pick, step)));
        index.put(one);
        linear.put(one);
      }
      const asked = someOldQuery(pick, old);
      const excluded = pick(3) === 0 ? new Set([`r${pick(60)}`, `r${pick(60)}`].map(asReplicaId)) : NOBODY;
      const matching = linear.match(asked).filter((one) => !excluded.has(one.replica.id));
      const chosen = index.choose(asked, excluded, random);
      if (matching.length === 0) expect(chosen).toBeUndefined();
      else expect(matching).toContain(chosen);
    }
  });

  it('does so where lists are long', () => {
    const random = seededRandom(4);
    const pick = below(random);
    const index = createCapabilityIndex();
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
      const asked = query(
        Object.fromEntries(pairs.map(([key, size]) => [key, String((remainder + (pick(8) === 0 ? 1 : 0)) % size)])),
      );
      const matching = linear.match(asked);
      for (let again = 0; again < 3; again++) {
        const chosen = index.choose(asked, NOBODY, random);
        if (matching.length === 0) expect(chosen).toBeUndefined();
        else expect(matching).toContain(chosen);
      }
      const gone = asReplicaId(`r${pick(9000)}`);
      index.delete(gone);
      linear.delete(gone);
      put(pick(9000));
    }
  });

  it('does so while more queries are asked than are kept', () => {
    const random = seededRandom(8);
    const pick = below(random);
    const index = createCapabilityIndex();
    const linear = createLinearIndex();
    const old: CapabilityQuery[] = [];
    const keys = Array.from({ length: 16 }, (_, n) => `k${n}`);
    const valued = (names: readonly string[]): Record<string, string> =>
      Object.fromEntries(names.map((name) => [name, String(pick(4))]));
    for (let step = 0; step < 11_000; step++) {
      const id = `r${pick(100)}`;
      const one = registration(`l${step}`, replica(id, valued(keys)));
      index.put(one);
      linear.put(one);
      const isOld = step > 0 && pick(4) === 0;
      const asked = isOld
        ? (old[pick(step)] as CapabilityQuery)
        : query(valued(Array.from('abc', () => `k${pick(16)}`)));
      old.push(asked);
      const matching = linear.match(asked);
      for (let again = 0; again < 3; again++) {
        const chosen = index.choose(asked, NOBODY, random);
        if (matching.length === 0) expect(chosen).toBeUndefined();
        else expect(matching).toContain(chosen);
      }
    }
  });

  /** How often each of the replicas of model a is chosen, among many of others. */
  function counts(index: CapabilityIndex, random: Random, asked: Readonly<Record<string, string>>): number[] {
    const chosen = new Map<string, number>();
    for (let n = 0; n < 5000; n++) {
      const id = index.choose(query(asked), NOBODY, random)?.replica.id ?? 'nobody';
      chosen.set(id, (chosen.get(id) ?? 0) + 1);
    }
    return [...chosen.values()];
  }

  it.each([
    ['one list', { model: 'a' }, 0],
    ['a result that is kept', { model: 'a', type: 'chat' }, 0],
    ['draws', { region: 'eu', type: 'chat' }, 0],
    ['a result that is kept beside long lists', { tier: '1', type: 'chat' }, 5000],
  ] as const)('chooses evenly from %s, however many objects of a replica match', (_how, asked, others) => {
    const random = seededRandom(5);
    const index = createCapabilityIndex();
    for (let n = 0; n < others; n++) {
      index.put(registration(`o${n}`, replica(`o${n}`, { tier: n % 2, type: n % 2 === 0 ? 'chat' : 'embed' })));
    }
    for (let n = 0; n < 5; n++) {
      const pairs = { model: 'a', type: 'chat', region: 'eu', tier: '1' };
      const objects = Array.from({ length: n + 1 }, (_, at) => ({ ...pairs, at }));
      index.put(registration(`l${n}`, replica(`r${n}`, ...objects)));
      const apart = [{ region: 'eu', tier: '1' }, { type: 'chat' }];
      index.put(registration(`m${n}`, replica(`never${n}`, ...apart)));
    }
    const found = counts(index, random, asked);
    expect(found).toHaveLength(5);
    expect(chiSquare(found)).toBeLessThan(18.47);
  });

  it('leaves the excluded out evenly', () => {
    const random = seededRandom(6);
    const index = createCapabilityIndex();
    for (let n = 0; n < 8; n++) index.put(registration(`l${n}`, replica(`r${n}`, { type: 'chat' })));
    const excluded = new Set(['r0', 'r3', 'r7', 'r9'].map(asReplicaId));
    const chosen = new Map<string, number>();
    for (let n = 0; n < 5000; n++) {
      const id = index.choose(query({ type: 'chat' }), excluded, random)?.replica.id ?? 'nobody';
      chosen.set(id, (chosen.get(id) ?? 0) + 1);
    }
    expect([...chosen.keys()].sort()).toEqual(['r1', 'r2', 'r4', 'r5', 'r6']);
    expect(chiSquare([...chosen.values()])).toBeLessThan(18.47);
    const all = new Set(Array.from({ length: 8 }, (_, n) => asReplicaId(`r${n}`)));
    expect(index.choose(query({ type: 'chat' }), all, random)).toBeUndefined();
  });

  it('leaves the excluded out evenly where it draws', () => {
    const random = seededRandom(9);
    const index = createCapabilityIndex();
    for (let n = 0; n < 20; n++) index.put(registration(`l${n}`, replica(`r${n}`, { type: 'chat', region: 'eu' })));
    const excluded = new Set(Array.from({ length: 15 }, (_, n) => asReplicaId(`r${n}`)));
    const chosen = new Map<string, number>();
    for (let n = 0; n < 5000; n++) {
      const id = index.choose(query({ type: 'chat', region: 'eu' }), excluded, random)?.replica.id ?? 'nobody';
      chosen.set(id, (chosen.get(id) ?? 0) + 1);
    }
    expect([...chosen.keys()].sort()).toEqual(['r15', 'r16', 'r17', 'r18', 'r19']);
    expect(chiSquare([...chosen.values()])).toBeLessThan(18.47);
  });

  it('takes a pair that came back for the pair, and not for the one that had its number', () => {
    const random = seededRandom(7);
    const index = createCapabilityIndex();
    const ask = (asked: Readonly<Record<string, string>>) => index.choose(query(asked), NOBODY, random)?.replica.id;
    for (let n = 0; n < 50; n++) {
      index.put(registration(`a${n}`, replica('r1', { model: `old${n}`, type: 'chat' })));
      for (let again = 0; again < 3; again++) expect(ask({ model: `old${n}`, type: 'chat' })).toBe('r1');
      index.put(registration(`b${n}`, replica('r1', { model: `new${n}`, type: 'chat' })));
      expect(ask({ model: `old${n}`, type: 'chat' })).toBeUndefined();
      expect(ask({ model: `new${n}`, type: 'chat' })).toBe('r1');
    }
  });

  it('does so for a query that is asked with the same object', () => {
    const index = createCapabilityIndex();
    const [old, other] = [query({ model: 'old', type: 'chat' }), query({ model: 'new', type: 'chat' })];
    const ask = (asked: CapabilityQuery) => index.choose(asked, NOBODY, seededRandom(10))?.replica.id;
    for (let n = 0; n < 5; n++) {
      index.put(registration(`a${n}`, replica('r1', { model: 'old', type: 'chat' })));
      for (let again = 0; again < 5; again++) expect([ask(old), ask(other)]).toEqual(['r1', undefined]);
      index.put(registration(`b${n}`, replica('r1', { model: 'new', type: 'chat' })));
      for (let again = 0; again < 5; again++) expect([ask(old), ask(other)]).toEqual([undefined, 'r1']);
    }
  });
});
