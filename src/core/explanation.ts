import { type Capability, type CapabilityQuery, listPairs, type Pairs } from './capability.js';
import { measureMisspelling } from './edit-distance.js';

/** A replica as an explanation sees it. */
export interface ExplainedReplica {
  readonly id: string;
  readonly capabilities: readonly Capability[];
  /** Undefined where an API server knows no states: then it is routed to. */
  readonly state?: string | undefined;
  /** How long it has been in that state, in ms. */
  readonly forMs?: number | undefined;
}

/** A key with a value. */
export type Pair = readonly [key: string, value: string];

/** A replica that offers all that is asked for, and its state. */
export type UnroutableMatch = Pick<ExplainedReplica, 'id' | 'state' | 'forMs'>;

/** Why no replica matches a query: everything that was found out, in no order. */
export interface Explanation {
  readonly query: CapabilityQuery;
  /** Number of replicas that were looked at. */
  readonly replicaCount: number;
  /** Whether there was more to look at than the limit on work allows. */
  readonly isTruncated: boolean;
  /** Replicas that offer it, the first few of them, each with the state that keeps it from being chosen. */
  readonly held: readonly UnroutableMatch[];
  readonly heldCount: number;
  /** The first replica that has all pairs, in different capability objects. */
  readonly apartIn: string | undefined;
  /** For each pair of the query the first replica that has it; undefined when none does. */
  readonly offeredBy: readonly (string | undefined)[];
  /** For each pair of the query an offered pair that may have been meant. */
  readonly closest: readonly (Pair | undefined)[];
  /** A capability object that has all pairs but one, and the value that it has instead. */
  readonly nearMiss: { readonly id: string; readonly wanted: Pair; readonly has: string } | undefined;
  /** A list that has the wanted value. Lists never match. */
  readonly list: { readonly id: string; readonly wanted: Pair } | undefined;
}

/** Limit on work: one unit is an offered pair beside a wanted one. A million takes less than 0.1 s. */
const MAX_UNITS = 5_000_000;

/** Number of characters that can be searched at the price of a unit. */
const CHARACTERS_A_UNIT = 64;

/** Largest number of letter-by-letter comparisons. */
const MAX_COMPARISONS = 20_000;

/** Largest amount of JSON, in characters, that is searched for lists. */
const MAX_PARSED = 1_000_000;

/** Number of held replicas that are named. */
const MAX_NAMED = 3;

/**
 * Finds out why no replica matches a query. Replicas are added one after the other, so that a server can do other work in
 * between. Memory does not grow with their number; time is limited, however many there are and however long their values.
 */
export class Explainer {
  readonly #query: CapabilityQuery;
  readonly #pairs: readonly WantedPair[];
  readonly #wantedByKey: ReadonlyMap<string, WantedPair>;
  readonly #held: UnroutableMatch[] = [];
  #heldCount = 0;
  #replicaCount = 0;
  #unitsLeft: number;
  #parsedLeft = MAX_PARSED;
  #comparisonsLeft = MAX_COMPARISONS;
  #apartIn: string | undefined;
  #nearMiss: Explanation['nearMiss'];
  #list: Explanation['list'];

  constructor(query: CapabilityQuery, maxUnits = MAX_UNITS) {
    this.#query = query;
    this.#pairs = listPairs(query).map(([key, value]) => new WantedPair(key, value));
    this.#wantedByKey = new Map(this.#pairs.map((pair) => [pair.key, pair]));
    this.#unitsLeft = maxUnits;
  }

  /** Takes a replica into account, unless the limit on work is reached. */
  add(replica: ExplainedReplica): void {
    if (this.#unitsLeft <= 0) return;
    this.#replicaCount++;
    let isWhole = false;
    const found = new Set<WantedPair>();
    for (const capability of replica.capabilities) {
      if (this.#unitsLeft <= 0) return;
      const { pairs, source } = capability;
      this.#unitsLeft -= 1 + (pairs.length / 2) * this.#pairs.length + source.length / CHARACTERS_A_UNIT;
      const matched = this.#matchedIn(pairs, replica.id);
      if (matched.length === this.#pairs.length) isWhole = true;
      for (const pair of matched) found.add(pair);
      if (this.#pairs.length > 1 && matched.length === this.#pairs.length - 1)
        this.#noteNearMiss(replica, capability, matched);
      this.#lookForList(replica, capability);
    }
    if (isWhole) this.#noteHeld(replica);
    else if (found.size === this.#pairs.length && this.#pairs.length > 1) this.#apartIn ??= replica.id;
  }

  /** Returns the findings so far. */
  getExplanation(): Explanation {
    return {
      query: this.#query,
      replicaCount: this.#replicaCount,
      isTruncated: this.#unitsLeft <= 0,
      held: this.#held,
      heldCount: this.#heldCount,
      apartIn: this.#apartIn,
      offeredBy: this.#pairs.map(({ offeredBy }) => offeredBy),
      closest: this.#pairs.map(({ offeredBy, closest }) => (offeredBy === undefined ? closest : undefined)),
      nearMiss: this.#nearMiss,
      list: this.#list,
    };
  }

  #matchedIn(pairs: Pairs, id: string): WantedPair[] {
    const matched: WantedPair[] = [];
    for (let at = 0; at < pairs.length; at += 2) {
      const [key, value] = [pairs[at] as string, pairs[at + 1] as string];
      const wanted = this.#wantedByKey.get(key);
      if (wanted?.value === value) {
        wanted.offeredBy ??= id;
        matched.push(wanted);
      } else {
        this.#compare(key, value);
      }
    }
    return matched;
  }

  /** Takes a pair that is not wanted for what may have been meant instead of one that nobody offers. */
  #compare(key: string, value: string): void {
    for (const wanted of this.#pairs) {
      if (wanted.offeredBy !== undefined || !wanted.isNew(key, value)) continue;
      if (this.#comparisonsLeft-- <= 0) return;
      wanted.compare(key, value);
    }
  }

  #noteHeld({ id, state, forMs }: ExplainedReplica): void {
    this.#heldCount++;
    if (this.#held.length < MAX_NAMED) this.#held.push({ id, state, forMs });
  }

  #noteNearMiss({ id }: ExplainedReplica, { pairs }: Capability, matched: readonly WantedPair[]): void {
    if (this.#nearMiss) return;
    const matching = new Set(matched);
    const missing = this.#pairs.find((pair) => !matching.has(pair));
    if (!missing) return;
    const has = listPairs(pairs).find(([key]) => key === missing.key)?.[1];
    if (has !== undefined) this.#nearMiss = { id, wanted: [missing.key, missing.value], has };
  }

  /** Looks for a wanted value in the lists of a capability, which its pairs have none of. */
  #lookForList({ id }: ExplainedReplica, { source }: Capability): void {
    if (this.#list || source.length > this.#parsedLeft || !source.includes('[')) return;
    this.#parsedLeft -= source.length;
    let object: Readonly<Record<string, unknown>>;
    try {
      object = JSON.parse(source);
    } catch {
      return;
    }
    const isListed = ({ key, value }: WantedPair): boolean => {
      const offered = Object.hasOwn(object, key) ? object[key] : undefined;
      return Array.isArray(offered) && offered.some((item) => typeof item !== 'object' && String(item) === value);
    };
    const wanted = this.#pairs.find(isListed);
    if (wanted) this.#list = { id, wanted: [wanted.key, wanted.value] };
  }
}

/** Largest number of texts that are remembered as compared. */
const MAX_REMEMBERED = 10_000;

/** Longest text that may have been meant: nobody misspells a longer one. */
const MAX_LENGTH = 1024;

/** How far a pair is that has the wanted value and another key. */
const OTHER_KEY = 0.5;

/** How far a value is that begins with the wanted one. */
const LONGER = 3.5;

/** Fewest letters that tell something about a value. */
const MIN_LETTERS = 3;

/** One pair of a query, and the nearest to it of all that is offered. */
class WantedPair {
  readonly key: string;
  readonly value: string;
  offeredBy: string | undefined;
  closest: Pair | undefined;
  #distance = Number.POSITIVE_INFINITY;
  readonly #values = new Set<string>();
  readonly #keys = new Set<string>();
  readonly #keysOfValue = new Set<string>();

  constructor(key: string, value: string) {
    this.key = key;
    this.value = value;
  }

  /** Whether a pair is worth a comparison: nothing like it was compared before. */
  isNew(key: string, value: string): boolean {
    if (key === this.key) return isAdded(this.#values, value);
    return isAdded(value === this.value ? this.#keysOfValue : this.#keys, key);
  }

  compare(key: string, value: string): void {
    const distance = this.#distanceTo(key, value);
    if (distance === undefined || distance >= this.#distance) return;
    this.#distance = distance;
    this.closest = [key, value];
  }

  #distanceTo(key: string, value: string): number | undefined {
    if (key === this.key) {
      const isLonger = this.value.length >= MIN_LETTERS && value.startsWith(this.value);
      return measureMisspelling(this.value, value) ?? (isLonger ? LONGER : undefined);
    }
    const keyDistance = measureMisspelling(this.key, key);
    // Numbers, true and false are values of many keys.
    if (value === this.value)
      return keyDistance ?? (/^(?:.{0,2}|true|false|[\d.]*)$/s.test(value) ? undefined : OTHER_KEY);
    // A misspelt key with another value is worth less than anything with the right one.
    return keyDistance === undefined ? undefined : keyDistance + LONGER;
  }
}

function isAdded(texts: Set<string>, text: string): boolean {
  if (text.length > MAX_LENGTH || texts.has(text)) return false;
  if (texts.size < MAX_REMEMBERED) texts.add(text);
  return true;
}
