import { describe, expect, it } from 'vitest';
import { createPairs } from '../../../src/core/capability.js';
import { asReplicaId, type ReplicaId } from '../../../src/core/ids.js';
import { Bitmap } from '../../../src/core/index/bitmap.js';
import { CapabilityIndex, type SearchResult } from '../../../src/core/index/capability-index.js';
import { PairTable } from '../../../src/core/index/pair-table.js';
import { PreparedFilter } from '../../../src/core/index/prepared-filter.js';
import { SELECTOR_LIMITS, type SelectorSearchLimits } from '../../../src/core/index/selector-search.js';
import { TermSlots } from '../../../src/core/index/term-slots.js';
import type { Random } from '../../../src/core/ports.js';
import { ReplicaList } from '../../../src/core/replica-list.js';
import { NO_EXCLUSIONS } from '../../../src/core/routable-replicas.js';
import { parseSelector } from '../../../src/core/selector-parser.js';
import { computeChiSquare } from '../../support/chi-square.js';
import {
  drawObjects,
  drawPlainQuery,
  drawSelector,
  matchesPlainly,
  type PlainObject,
  type PlainSelector,
} from '../../support/plain-selector.js';
import { registration, replica } from '../../support/replicas.js';
import { measureRetainedBytes } from '../../support/retained-memory.js';
import { createSeededRandom } from '../../support/seeded-random.js';

function prepare(query: PlainObject, selector: string, preference = ''): PreparedFilter {
  const filter = { query: createPairs(Object.entries(query)), selector: parseSelector(selector, 'selector') };
  return new PreparedFilter(filter, parseSelector(preference, 'preference'));
}

/** Repeats a search until it is finished. Returns the id of the match, and the number of searches. */
function finish(search: () => SearchResult): { readonly id: string | undefined; readonly turns: number } {
  for (let turns = 1; turns < 10_000; turns++) {
    const result = search();
    if (result.kind === 'found') return { id: result.registration.replica.id, turns };
    if (result.kind === 'none') return { id: undefined, turns };
  }
  throw new Error('the search does not finish');
}

function drawBelow(random: Random): (bound: number) => number {
  return (bound) => Math.floor(random.fraction() * bound);
}

interface Asked {
  readonly query: PlainObject;
  readonly selector: PlainSelector;
  readonly filter: PreparedFilter;
}

function drawAsked(pick: (bound: number) => number): Asked {
  const [query, selector] = [drawPlainQuery(pick), drawSelector(pick)];
  return { query, selector, filter: prepare(query, selector.text) };
}

const STEPS = 8000;

describe('a search with a selector', () => {
  it.each<[string, SelectorSearchLimits, number]>([
    ['with the usual limits', SELECTOR_LIMITS, 60],
    ['among more replicas', SELECTOR_LIMITS, 300],
    ['in many turns', { maxResults: 64, maxUnitsPerTurn: 20, maxSamples: 2 }, 60],
    ['without samples', { maxResults: 64, maxUnitsPerTurn: 1000, maxSamples: 0 }, 100],
    ['with few cached results', { maxResults: 2, maxUnitsPerTurn: 1000, maxSamples: 8 }, 100],
  ])(`agrees with the plain evaluator over ${STEPS} changes %s`, (_how, limits, ids) => {
    const random = createSeededRandom(ids);
    const pick = drawBelow(random);
    const index = new CapabilityIndex(undefined, limits);
    const present = new Map<string, PlainObject[]>();
    const old = Array.from({ length: 40 }, () => drawAsked(pick));
    const counts = { matching: 0, turns: 0 };
    const change = (step: number): void => {
      const id = `r${pick(ids)}`;
      const objects = drawObjects(pick);
      if (pick(3) === 0) {
        index.delete(asReplicaId(id));
        present.delete(id);
      } else {
        index.put(registration(`l${step}`, replica(id, ...objects)));
        present.set(id, objects);
      }
    };
    for (let step = 0; step < STEPS; step++) {
      change(step);
      const { query, selector, filter } = pick(4) > 0 ? (old[pick(old.length)] as Asked) : drawAsked(pick);
      const excluded = new Set(pick(3) === 0 ? [asReplicaId(`r${pick(ids)}`), asReplicaId(`r${pick(ids)}`)] : []);
      const { id, turns } = finish(() => {
        // The list can change between two turns.
        if (pick(10) === 0) change(step);
        return index.search(filter, excluded, random);
      });
      const matching = [...present].filter(
        ([one, objects]) => matchesPlainly(query, selector, objects) && !excluded.has(asReplicaId(one)),
      );
      const isRight = id === undefined ? matching.length === 0 : matching.some(([one]) => one === id);
      expect(isRight, `${JSON.stringify(query)} ${selector.text}: ${id}`).toBe(true);
      counts.matching += Number(matching.length > 0);
      counts.turns += turns;
    }
    expect(counts.matching).toBeGreaterThan(STEPS / 4);
    if (limits.maxUnitsPerTurn === 20) expect(counts.turns).toBeGreaterThan(STEPS * 1.5);
  });

  it('finds the matches again when too many replicas changed since its last use', () => {
    const index = new CapabilityIndex(undefined, { ...SELECTOR_LIMITS, maxSamples: 0 });
    const filter = prepare({}, 'size>5');
    const random = createSeededRandom(3);
    const put = (id: string, size: number): void => index.put(registration('lease', replica(id, { size })));
    put('a', 6);
    expect(finish(() => index.search(filter, NO_EXCLUSIONS, random)).id).toBe('a');
    for (let n = 0; n < 40_000; n++) put('b', n % 5);
    put('a', 1);
    for (let n = 0; n < 40_000; n++) put('b', n % 5);
    put('c', 7);
    for (let n = 0; n < 20; n++) expect(finish(() => index.search(filter, NO_EXCLUSIONS, random)).id).toBe('c');
  });

  it.each<[string, string, SelectorSearchLimits]>([
    ['by samples', 'size>=0', SELECTOR_LIMITS],
    ['from a result', 'size>=0', { ...SELECTOR_LIMITS, maxSamples: 0 }],
    ['from lists of values', 'zone in (a,b)', { ...SELECTOR_LIMITS, maxSamples: 0 }],
    ['from the objects of which all match', 'zone!=c', SELECTOR_LIMITS],
  ])('chooses uniformly %s, regardless of how many objects of a replica match', (_how, selector, limits) => {
    const index = new CapabilityIndex(undefined, limits);
    const random = createSeededRandom(6);
    for (let n = 0; n < 60; n++) {
      const objects = Array.from({ length: 1 + (n % 3) }, (_, at) => ({ zone: 'ab'.charAt(at % 2), size: at }));
      index.put(registration('lease', replica(`r${n}`, ...objects)));
      index.put(registration('lease', replica(`never${n}`, { zone: 'c', size: -1 })));
    }
    const excluded = new Set(['r0', 'r1', 'never1'].map(asReplicaId));
    const filter = prepare({}, selector);
    const counts = new Map<string | undefined, number>();
    for (let n = 0; n < 20_000; n++) {
      const { id } = finish(() => index.search(filter, excluded, random));
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect(counts.size).toBe(58);
    expect([...counts.keys()].filter((id) => !/^r\d+$/.test(id ?? ''))).toEqual([]);
    // The 0.999 quantile for 57 degrees of freedom.
    expect(computeChiSquare([...counts.values()])).toBeLessThan(95.8);
  });

  it.each([
    ['a key has few values', 50, 1],
    ['a key has too many values for its lists', 5000, 1],
    ['replicas have several objects', 50, 3],
  ])('finds exactly the matches when %s', (_what, values, objects) => {
    const random = createSeededRandom(3);
    const index = new CapabilityIndex();
    const size = 6000;
    for (let n = 0; n < size; n++) {
      const pairs = Array.from({ length: objects }, (_, at) => ({
        n: String((n * objects + at) % values),
        even: n % 2 === 0,
      }));
      index.put(registration(`l${n}`, replica(`r${n}`, ...pairs)));
    }
    const search = (selector: string) => finish(() => index.search(prepare({}, selector), NO_EXCLUSIONS, random));
    expect(search(`n<0`).id).toBeUndefined();
    expect(search(`n>=${values},even=true`).id).toBeUndefined();
    expect(search('!n').id).toBeUndefined();
    expect(search(`n>7,n<9,even!=${objects === 1}`).id === undefined).toBe(objects === 1);
    expect(search(`n notin (${Array.from({ length: values }, (_, n) => n).slice(0, 40)}),n<40`).id).toBeUndefined();
  });

  it('examines no more values and lists than its bounds allow', () => {
    const pairs = new PairTable();
    const trie = { root: { matches: { size: 100 } }, getList: () => ({ matches: { size: 3000, slots: [] } }) };
    const used = new Bitmap();
    const terms = new TermSlots({ pairs, trie: trie as never, used, needsObjectCheck: new Bitmap() });
    for (let n = 0; n < 3000; n++) pairs.useAll(['many', String(n)]);
    for (let n = 0; n < 3; n++) pairs.useAll(['few', String(n)]);
    const [many, few] = parseSelector('many>5,few=1', 'where').terms;
    expect(terms.find(many as never)).toBeUndefined();
    // The lists of a filter can have 4,096 members together.
    expect([terms.find(few as never), terms.find(few as never)].map((slots) => slots !== undefined)).toEqual([
      true,
      false,
    ]);
  });

  it('uses the cached result of the same pairs and terms, however they are given', () => {
    const keys = [
      prepare({ type: 'chat' }, 'size>5'),
      prepare({}, 'type=chat, size > 5'),
      prepare({}, 'type in ("chat"),type==chat,size>"5"'),
    ].map(({ key }) => key);
    expect(new Set(keys).size).toBe(1);
    expect(prepare({ type: 'chat' }, 'type=chat').selector.terms).toEqual([]);
    expect(prepare({ type: 'chat' }, 'type=embed').key).not.toBe(prepare({ type: 'chat' }, '').key);
  });

  it('keeps a bounded amount of memory for any number of selectors', () => {
    const random = createSeededRandom(5);
    const index = new CapabilityIndex(undefined, { ...SELECTOR_LIMITS, maxResults: 128 });
    for (let n = 0; n < 4000; n++) index.put(registration('lease', replica(`r${n}`, { size: n })));
    const search = (from: number, to: number): void => {
      for (let n = from; n < to; n++) {
        const filter = prepare({}, `size>=${n},size<=${n}`);
        expect(finish(() => index.search(filter, NO_EXCLUSIONS, random)).id).toBe(`r${n}`);
      }
    };
    search(0, 256);
    const growth = measureRetainedBytes(() => {
      search(256, 2048);
      return index;
    });
    expect(growth).toBeLessThan(500_000);
  });
});

describe('a list of replicas', () => {
  /** The state of a replica, and whether it is cordoned. */
  const STATES = ['ready', 'ready', 'ready', 'suspect', 'suspect', 'unready', 'draining', 'cordoned'] as const;
  const isExcluded = (id: string, excluded: ReadonlySet<ReplicaId>): boolean => excluded.has(asReplicaId(id));

  it.each([1, 2])(
    'prefers matches of the first filter, but never a suspect or excluded one to another (seed %i)',
    (seed) => {
      const random = createSeededRandom(seed);
      const pick = drawBelow(random);
      const list = new ReplicaList(random);
      const present = new Map<string, { readonly state: string; readonly objects: PlainObject[] }>();
      const old = Array.from({ length: 20 }, () => ({
        query: drawPlainQuery(pick),
        where: drawSelector(pick),
        prefer: drawSelector(pick),
      }));
      for (let step = 0; step < 6000; step++) {
        const id = `r${pick(30)}`;
        if (pick(4) === 0) {
          list.delete(asReplicaId(id));
          present.delete(id);
        } else {
          const state = STATES[pick(STATES.length)] as (typeof STATES)[number];
          const objects = drawObjects(pick);
          const isCordoned = state === 'cordoned';
          list.put({
            ...registration(`l${step}`, replica(id, ...objects)),
            state: isCordoned ? 'ready' : state,
            cordon: isCordoned ? { cordoned: true, reason: undefined, sinceEpochMs: 0 } : undefined,
          } as Parameters<typeof list.put>[0]);
          present.set(id, { state, objects });
        }
        const { query, where, prefer } = old[pick(old.length)] as (typeof old)[number];
        const both = {
          text: [where.text, prefer.text].filter(Boolean).join(','),
          terms: [...where.terms, ...prefer.terms],
        };
        const excluded = new Set(pick(2) === 0 ? [asReplicaId(`r${pick(30)}`)] : []);
        const rank = (one: string): number => {
          const { state, objects } = present.get(one) ?? { state: '', objects: [] };
          if (!['ready', 'suspect'].includes(state) || !matchesPlainly(query, where, objects))
            return Number.POSITIVE_INFINITY;
          const isPreferred = matchesPlainly(query, both, objects);
          return (isExcluded(one, excluded) ? 4 : 0) + (state === 'suspect' ? 2 : 0) + (isPreferred ? 0 : 1);
        };
        const filters = [prepare(query, where.text, prefer.text), prepare(query, where.text)];
        const { id: chosen } = finish(() => list.search(filters, excluded));
        const best = Math.min(...[...present.keys()].map(rank));
        expect(chosen === undefined ? Number.POSITIVE_INFINITY : rank(chosen)).toBe(best);
      }
    },
  );
});
