import { type Capability, type CapabilityQuery, listPairs, type Pairs } from './capability.js';
import { type Pair, QueryPair } from './closest-pair.js';
import type { Cordon } from './cordon.js';

/** The properties of a replica that an explanation uses. */
export interface ExplainedReplica {
  readonly id: string;
  readonly capabilities: readonly Capability[];
  /** Undefined if the API server reports no states, as the Python server does. Such a replica is routable. */
  readonly state?: string | undefined;
  /** Time for which the replica has been in that state, in ms. */
  readonly stateAgeMs?: number | undefined;
  /** The last decision of an operator about it. A cordoned replica is not routable in any state. */
  readonly cordon?: Cordon | undefined;
}

/** A replica that matches the query but is not routable, with its state and cordon. */
export type UnroutableMatch = Pick<ExplainedReplica, 'id' | 'state' | 'stateAgeMs' | 'cordon'>;

/** Findings about why no replica matches a query. */
export interface Explanation {
  readonly query: CapabilityQuery;
  /** Number of replicas that were examined. */
  readonly replicaCount: number;
  /** Whether the work limit was reached before all replicas were examined. */
  readonly isTruncated: boolean;
  /** The first few replicas that match but are not routable, each with its state. */
  readonly unroutable: readonly UnroutableMatch[];
  /** Total number of such replicas. */
  readonly unroutableCount: number;
  /** Id of the first replica that has all pairs, but in different capability objects. */
  readonly splitReplicaId: string | undefined;
  /** For each pair of the query, the id of the first replica that has it; undefined if none has. */
  readonly offeredBy: readonly (string | undefined)[];
  /** For each pair of the query that no replica has, the most similar offered pair. */
  readonly closest: readonly (Pair | undefined)[];
  /** The first capability object that has all pairs except one, and its value for the key of that pair. */
  readonly nearMiss: { readonly id: string; readonly requested: Pair; readonly offered: string } | undefined;
  /** The first list that contains a value of the query. Lists never match. */
  readonly list: { readonly id: string; readonly requested: Pair } | undefined;
}

/**
 * Maximum amount of work. Comparing an offered pair with a pair of the query is one unit. A million units take less than 0.1
 * s.
 */
const MAX_WORK_UNITS = 5_000_000;

/** Number of characters of JSON that count as one unit when they are searched. */
const CHARACTERS_PER_UNIT = 64;

/** Maximum number of letter-by-letter comparisons. */
const MAX_COMPARISONS = 20_000;

/** Maximum amount of JSON that is parsed to find lists, in UTF-16 units. */
const MAX_PARSED_UNITS = 1_000_000;

/** Maximum number of unroutable matches that are listed by id. */
const MAX_NAMED = 3;

/**
 * Finds out why no replica matches a query. Replicas are added one by one, so that a server can do other work in between.
 * Memory does not grow with the number of replicas. Total time is limited, for any number of replicas and any length of values.
 */
export class Explainer {
  readonly #query: CapabilityQuery;
  readonly #pairs: readonly QueryPair[];
  readonly #pairByKey: ReadonlyMap<string, QueryPair>;
  readonly #unroutable: UnroutableMatch[] = [];
  #unroutableCount = 0;
  #replicaCount = 0;
  #unitsLeft: number;
  #parsedLeft = MAX_PARSED_UNITS;
  #comparisonsLeft = MAX_COMPARISONS;
  #splitReplicaId: string | undefined;
  #nearMiss: Explanation['nearMiss'];
  #list: Explanation['list'];

  constructor(query: CapabilityQuery, maxUnits = MAX_WORK_UNITS) {
    this.#query = query;
    this.#pairs = listPairs(query).map(([key, value]) => new QueryPair(key, value));
    this.#pairByKey = new Map(this.#pairs.map((pair) => [pair.key, pair]));
    this.#unitsLeft = maxUnits;
  }

  /** Examines a replica, unless the work limit is reached. */
  add(replica: ExplainedReplica): void {
    if (this.#unitsLeft <= 0) return;
    this.#replicaCount++;
    let isMatch = false;
    const found = new Set<QueryPair>();
    for (const capability of replica.capabilities) {
      if (this.#unitsLeft <= 0) return;
      const { pairs, source } = capability;
      this.#unitsLeft -= 1 + (pairs.length / 2) * this.#pairs.length + source.length / CHARACTERS_PER_UNIT;
      const matched = this.#comparePairs(pairs, replica.id);
      if (matched.length === this.#pairs.length) isMatch = true;
      for (const pair of matched) found.add(pair);
      if (this.#pairs.length > 1 && matched.length === this.#pairs.length - 1)
        this.#recordNearMiss(replica, capability, matched);
      this.#findList(replica, capability);
    }
    if (isMatch) this.#recordUnroutable(replica);
    else if (found.size === this.#pairs.length && this.#pairs.length > 1) this.#splitReplicaId ??= replica.id;
  }

  /** Returns the findings so far. */
  getExplanation(): Explanation {
    return {
      query: this.#query,
      replicaCount: this.#replicaCount,
      isTruncated: this.#unitsLeft <= 0,
      unroutable: this.#unroutable,
      unroutableCount: this.#unroutableCount,
      splitReplicaId: this.#splitReplicaId,
      offeredBy: this.#pairs.map(({ offeredBy }) => offeredBy),
      closest: this.#pairs.map(({ offeredBy, closest }) => (offeredBy === undefined ? closest : undefined)),
      nearMiss: this.#nearMiss,
      list: this.#list,
    };
  }

  /** Returns the pairs of the query among these, and compares the others with the pairs of the query. */
  #comparePairs(pairs: Pairs, id: string): QueryPair[] {
    const matched: QueryPair[] = [];
    for (let i = 0; i < pairs.length; i += 2) {
      const [key, value] = [pairs[i] as string, pairs[i + 1] as string];
      const requested = this.#pairByKey.get(key);
      if (requested?.value === value) {
        requested.offeredBy ??= id;
        matched.push(requested);
      } else {
        this.#findSimilar(key, value);
      }
    }
    return matched;
  }

  /** Compares an offered pair with each pair of the query that no replica has, in search of a misspelling. */
  #findSimilar(key: string, value: string): void {
    for (const requested of this.#pairs) {
      if (requested.offeredBy !== undefined || !requested.isNew(key, value)) continue;
      if (this.#comparisonsLeft-- <= 0) return;
      requested.compare(key, value);
    }
  }

  #recordUnroutable({ id, state, stateAgeMs, cordon }: ExplainedReplica): void {
    this.#unroutableCount++;
    if (this.#unroutable.length < MAX_NAMED) this.#unroutable.push({ id, state, stateAgeMs, cordon });
  }

  #recordNearMiss({ id }: ExplainedReplica, { pairs }: Capability, matched: readonly QueryPair[]): void {
    if (this.#nearMiss) return;
    const matching = new Set(matched);
    const missing = this.#pairs.find((pair) => !matching.has(pair));
    if (!missing) return;
    const offered = listPairs(pairs).find(([key]) => key === missing.key)?.[1];
    if (offered !== undefined) this.#nearMiss = { id, requested: [missing.key, missing.value], offered };
  }

  /**
   * Searches the lists of a capability object for a value of the query. They are only in its JSON, because `pairs` has
   * scalars only.
   */
  #findList({ id }: ExplainedReplica, { source }: Capability): void {
    if (this.#list || source.length > this.#parsedLeft || !source.includes('[')) return;
    this.#parsedLeft -= source.length;
    let object: Readonly<Record<string, unknown>>;
    try {
      object = JSON.parse(source);
    } catch {
      return;
    }
    const isListed = ({ key, value }: QueryPair): boolean => {
      const offered = Object.hasOwn(object, key) ? object[key] : undefined;
      return Array.isArray(offered) && offered.some((item) => typeof item !== 'object' && String(item) === value);
    };
    const requested = this.#pairs.find(isListed);
    if (requested) this.#list = { id, requested: [requested.key, requested.value] };
  }
}
