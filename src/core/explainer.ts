import { type Capability, type CapabilityQuery, getPairValue, listPairs, type Pairs } from './capability.js';
import { QueryPair } from './closest-pair.js';
import type { ExplainedReplica, Explanation } from './explanation.js';
import { concatTallies, ProtocolCounter } from './match-tally.js';
import { getOtherProtocol, type Protocol } from './protocol.js';
import { EMPTY_SELECTOR, formatTerm, holdsForValue, matchesSelector, type Selector } from './selector.js';

/**
 * Maximum amount of work. Comparing an offered pair with a pair of the query is one unit. A million units take less than 0.1
 * s.
 */
const MAX_WORK_UNITS = 5_000_000;

/** Amount of work of a step, about 0.1 ms. A single capability object can take a few ms. */
const UNITS_PER_STEP = 1000;

/** Number of characters of JSON that count as one unit when they are searched. */
const CHARACTERS_PER_UNIT = 64;

/** Number of characters of JSON that count as one unit when they are parsed. */
const PARSED_CHARACTERS_PER_UNIT = 8;

/** Number of units of a letter-by-letter comparison. */
const UNITS_PER_COMPARISON = 20;

/** Maximum number of letter-by-letter comparisons. Limits the memory for compared strings, too. */
const MAX_COMPARISONS = 20_000;

/** Maximum amount of JSON that is parsed to find lists, in UTF-16 units. */
const MAX_PARSED_UNITS = 1_000_000;

/** Maximum length of a capability object that is parsed to find lists, in UTF-16 units. Parsing takes less than 2 ms. */
const MAX_PARSED_OBJECT = 64 * 1024;

/** The conditions of a request beside the pairs of its query. */
export interface ExplainedConditions {
  /** Default: no selector. */
  readonly selector?: Selector | undefined;
  /** Default: any protocol, rather gRPC. */
  readonly protocol?: Protocol | undefined;
}

/** Explains a query among a list of replicas, at once. */
export function explainQuery(
  query: CapabilityQuery,
  replicas: readonly ExplainedReplica[],
  conditions: ExplainedConditions = {},
): Explanation {
  const explainer = new Explainer(query, conditions);
  const steps = explainer.examine(replicas);
  while (!steps.next().done);
  return explainer.getExplanation({ replicaCount: replicas.length });
}

/**
 * Finds out which replicas a query finds, or why it finds none. Replicas are examined in steps, so that a server can do other
 * work in between. Memory does not grow with the number of replicas. Total time is limited, for any number of replicas and any
 * length of values.
 */
export class Explainer {
  readonly #query: CapabilityQuery;
  readonly #selector: Selector;
  readonly #protocol: Protocol | undefined;
  readonly #pairs: readonly QueryPair[];
  readonly #pairByKey: ReadonlyMap<string, QueryPair>;
  readonly #matches: Readonly<Record<Protocol, ProtocolCounter>> = {
    grpc: new ProtocolCounter(),
    http: new ProtocolCounter(),
  };
  #examinedCount = 0;
  #isTruncated = false;
  #unitsLeft: number;
  /** The step ends when no more units than these are left. */
  #nextStepAt: number;
  #parsedLeft = MAX_PARSED_UNITS;
  #comparisonsLeft = MAX_COMPARISONS;
  #splitReplicaId: string | undefined;
  #nearMiss: Explanation['nearMiss'];
  #selectorMiss: Explanation['selectorMiss'];
  #list: Explanation['list'];

  constructor(
    query: CapabilityQuery,
    { selector = EMPTY_SELECTOR, protocol }: ExplainedConditions = {},
    maxUnits = MAX_WORK_UNITS,
  ) {
    this.#query = query;
    this.#selector = selector;
    this.#protocol = protocol;
    this.#pairs = listPairs(query).map(([key, value]) => new QueryPair(key, value));
    this.#pairByKey = new Map(this.#pairs.map((pair) => [pair.key, pair]));
    this.#unitsLeft = maxUnits;
    this.#nextStepAt = maxUnits - UNITS_PER_STEP;
  }

  /** Examines replicas until the work limit is reached. Yields after each step of about 0.1 ms. */
  *examine(replicas: Iterable<ExplainedReplica>): Generator<undefined, void> {
    for (const replica of replicas) {
      const scan = new ReplicaScan(replica);
      this.#unitsLeft--;
      for (const capability of replica.capabilities) {
        if (this.#unitsLeft <= 0) break;
        this.#examineCapability(capability, scan);
        if (this.#endsStep()) yield;
      }
      if (this.#unitsLeft <= 0) {
        this.#isTruncated = true;
        return;
      }
      this.#examinedCount++;
      this.#recordScan(scan, replica);
      if (this.#endsStep()) yield;
    }
  }

  /** Whether a request can get a better replica than those that were examined before the work limit was reached. */
  get needsCandidate(): boolean {
    return this.#isTruncated && this.#matches[this.#protocol ?? 'grpc'].ready.count === 0;
  }

  /** Records the replica that a request gets. It can be one of those that were examined, so it counts only as the first of its kind. */
  recordCandidate(match: Omit<ExplainedReplica, 'capabilities'>): void {
    this.#matches[match.protocol].addFirst(match);
  }

  /** Returns the findings so far. */
  getExplanation({ replicaCount, isWarming = false }: { replicaCount: number; isWarming?: boolean }): Explanation {
    const protocol = this.#chooseProtocol();
    const otherProtocol = getOtherProtocol(protocol);
    const { [protocol]: own, [otherProtocol]: other } = this.#matches;
    const hasReady = own.ready.count > 0;
    return {
      query: this.#query,
      selector: this.#selector.text,
      protocol: this.#protocol,
      replicaCount,
      examinedCount: this.#examinedCount,
      isTruncated: this.#isTruncated,
      isWarming,
      candidates: concatTallies(hasReady ? own.ready : own.suspect),
      others: concatTallies(
        own.unroutable,
        ...(hasReady ? [own.suspect] : []),
        ...(this.#protocol === undefined ? [other.unroutable] : []),
      ),
      otherProtocol:
        other.routableCount > 0 ? { protocol: otherProtocol, ...concatTallies(other.ready, other.suspect) } : undefined,
      splitReplicaId: this.#splitReplicaId,
      offeredBy: this.#pairs.map(({ offeredBy }) => offeredBy),
      closest: this.#pairs.map(({ offeredBy, closest }) => (offeredBy === undefined ? closest : undefined)),
      nearMiss: this.#nearMiss,
      selectorMiss: this.#selectorMiss,
      list: this.#list,
    };
  }

  /** Returns whether a step has ended, and begins the next one then. */
  #endsStep(): boolean {
    if (this.#unitsLeft > this.#nextStepAt) return false;
    this.#nextStepAt = this.#unitsLeft - UNITS_PER_STEP;
    return true;
  }

  /** Returns the protocol of the candidates: the one that was asked for, or as a request without one gets it. */
  #chooseProtocol(): Protocol {
    const { grpc, http } = this.#matches;
    return this.#protocol ?? (grpc.routableCount === 0 && http.routableCount > 0 ? 'http' : 'grpc');
  }

  #examineCapability(capability: Capability, scan: ReplicaScan): void {
    const { pairs, source } = capability;
    this.#unitsLeft -= 1 + (pairs.length / 2) * this.#pairs.length + source.length / CHARACTERS_PER_UNIT;
    const matchCount = this.#comparePairs(pairs, scan);
    if (matchCount === this.#pairs.length) {
      scan.isMatch = true;
      this.#unitsLeft -= this.#selector.terms.length;
      if (!this.#selectorMiss) this.#recordSelectorMiss(scan.id, pairs);
    }
    if (matchCount === this.#pairs.length - 1 && !this.#nearMiss) this.#recordNearMiss(scan.id, pairs);
    this.#findList(scan.id, source);
  }

  #recordScan({ id, isMatch, found }: ReplicaScan, replica: ExplainedReplica): void {
    const { capabilities } = replica;
    if (isMatch) {
      const isSelected = matchesSelector(this.#query, this.#selector, capabilities);
      if (isSelected || this.#selector.terms.length === 0) this.#matches[replica.protocol].add(replica);
    } else if (found?.size === this.#pairs.length && this.#pairs.length > 0) this.#splitReplicaId ??= id;
  }

  /** Returns how many of these pairs the query has, and compares the others with the pairs of the query. */
  #comparePairs(pairs: Pairs, { id, found }: ReplicaScan): number {
    let matchCount = 0;
    for (let i = 0; i < pairs.length; i += 2) {
      const key = pairs[i] as string;
      const value = pairs[i + 1] as string;
      const requested = this.#pairByKey.get(key);
      if (requested?.value === value) {
        requested.offeredBy ??= id;
        found?.add(requested);
        matchCount++;
      } else {
        this.#findSimilar(key, value);
      }
    }
    return matchCount;
  }

  /** Compares an offered pair with each pair of the query that no replica has, in search of a misspelling. */
  #findSimilar(key: string, value: string): void {
    if (this.#comparisonsLeft <= 0) return;
    for (const requested of this.#pairs) {
      if (requested.offeredBy !== undefined || !requested.isNew(key, value)) continue;
      this.#unitsLeft -= UNITS_PER_COMPARISON;
      requested.compare(key, value);
      if (--this.#comparisonsLeft <= 0) return;
    }
  }

  /** Records the first term of the selector that an object with all pairs does not satisfy. */
  #recordSelectorMiss(id: string, pairs: Pairs): void {
    const term = this.#selector.terms.find((one) => !holdsForValue(one, getPairValue(one.key, pairs)));
    if (!term) return;
    this.#selectorMiss = { id, term: formatTerm(term), key: term.key, offered: getPairValue(term.key, pairs) };
  }

  #recordNearMiss(id: string, pairs: Pairs): void {
    const missing = this.#pairs.find(({ key, value }) => getPairValue(key, pairs) !== value);
    if (!missing) return;
    const offered = getPairValue(missing.key, pairs);
    if (offered !== undefined) this.#nearMiss = { id, requested: [missing.key, missing.value], offered };
  }

  /**
   * Searches the lists of a capability object for a value of the query. They are only in its JSON, because `pairs` has
   * scalars only.
   */
  #findList(id: string, source: string): void {
    const maxLength = Math.min(this.#parsedLeft, MAX_PARSED_OBJECT);
    if (this.#list || source.length > maxLength || !source.includes('[')) return;
    this.#parsedLeft -= source.length;
    this.#unitsLeft -= source.length / PARSED_CHARACTERS_PER_UNIT;
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

/** Findings about the capability objects of one replica. */
class ReplicaScan {
  readonly id: string;
  /** The pairs of the query that the objects have together. Undefined for a single object. */
  readonly found: Set<QueryPair> | undefined;
  isMatch = false;

  constructor({ id, capabilities }: ExplainedReplica) {
    this.id = id;
    this.found = capabilities.length > 1 ? new Set() : undefined;
  }
}
