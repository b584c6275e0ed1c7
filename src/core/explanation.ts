import type { Capability, CapabilityQuery } from './capability.js';
import type { Pair } from './closest-pair.js';
import type { Match, MatchTally } from './match-tally.js';
import type { Protocol } from './protocol.js';

/** The properties of a replica that an explanation uses. */
export interface ExplainedReplica extends Match {
  readonly capabilities: readonly Capability[];
  readonly protocol: Protocol;
}

/** Matches with one protocol. */
export interface ProtocolMatches extends MatchTally {
  readonly protocol: Protocol;
}

/** A replica that has the pairs of a query, and the term of the selector that it does not satisfy. */
export interface SelectorMiss {
  readonly id: string;
  readonly term: string;
  readonly key: string;
  readonly offered: string | undefined;
}

/** Findings about which replicas a query finds, or why it finds none. */
export interface Explanation {
  readonly query: CapabilityQuery;
  /** The selector that was asked for. Empty for none. */
  readonly selector: string;
  /** The protocol that was asked for. Undefined for any. */
  readonly protocol: Protocol | undefined;
  /** Number of registered replicas. */
  readonly replicaCount: number;
  /** Number of replicas that were examined. */
  readonly examinedCount: number;
  /** Whether the work limit was reached before all replicas were examined. */
  readonly isTruncated: boolean;
  /** Whether the API server has just started, so that replicas can still be missing. */
  readonly isWarming: boolean;
  /** The matches of which a request picks one: the ready ones, or the suspect ones if none is ready. */
  readonly candidates: MatchTally;
  /** The other matches, which get no calls. */
  readonly others: MatchTally;
  /**
   * Routable matches with the other protocol. If none was asked for, those that are picked only when all candidates have left.
   * Undefined if there are none.
   */
  readonly otherProtocol: ProtocolMatches | undefined;
  /** Id of the first replica that has all pairs, but in different capability objects. */
  readonly splitReplicaId: string | undefined;
  /** For each pair of the query, the id of the first replica that has it; undefined if none has. */
  readonly offeredBy: readonly (string | undefined)[];
  /** For each pair of the query that no replica has, the most similar offered pair. */
  readonly closest: readonly (Pair | undefined)[];
  /** The first capability object that has all pairs except one, with another value for the key of that pair. */
  readonly nearMiss: { readonly id: string; readonly requested: Pair; readonly offered: string } | undefined;
  /** The first object that has all pairs, but does not satisfy a term of the selector. `offered` is undefined if it lacks the key. */
  readonly selectorMiss: SelectorMiss | undefined;
  /** The first list that contains a value of the query. Lists never match. */
  readonly list: { readonly id: string; readonly requested: Pair } | undefined;
}
