import type { ReplicaId } from './ids.js';
import { CapabilityIndex, type SearchResult } from './index/capability-index.js';
import type { PreparedFilter } from './index/prepared-filter.js';
import type { PreparedQuery } from './index/prepared-query.js';
import type { Random } from './ports.js';
import { isRoutable, type Registration, type Replica } from './replica.js';

/** The empty set of excluded replicas. */
export const NO_EXCLUSIONS: ReadonlySet<ReplicaId> = new Set();

/** The replicas of one protocol that can be chosen, in an index of the ready ones and one of the suspects. */
export class RoutableReplicas<R extends Replica = Replica> {
  readonly #ready = new CapabilityIndex<R>();
  readonly #suspect = new CapabilityIndex<R>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Adds a registration, or replaces the one with the same replica id. Keeps it only in the index of its state, and in none if it is cordoned. */
  put(registration: Registration<R>): void {
    const { replica, state } = registration;
    const canBeChosen = isRoutable(registration);
    if (canBeChosen && state === 'ready') this.#ready.put(registration);
    else this.#ready.delete(replica.id);
    if (canBeChosen && state === 'suspect') this.#suspect.put(registration);
    else this.#suspect.delete(replica.id);
  }

  delete(id: ReplicaId): void {
    this.#ready.delete(id);
    this.#suspect.delete(id);
  }

  /**
   * Chooses a random match: a ready one, or a suspect if no ready one matches. Each match is equally likely. Chooses an excluded
   * one only if no other matches: for a caller that saw all of them fail, a second try is better than nothing.
   */
  choose(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>): Registration<R> | undefined {
    const found = this.#chooseExcept(excluded, query);
    return found ?? (excluded.size > 0 ? this.#chooseExcept(NO_EXCLUSIONS, query) : undefined);
  }

  #chooseExcept(excluded: ReadonlySet<ReplicaId>, query: PreparedQuery): Registration<R> | undefined {
    return this.#ready.choose(query, excluded, this.#random) ?? this.#suspect.choose(query, excluded, this.#random);
  }

  /**
   * Chooses a random match of the first of these filters that has one, as {@link choose} does for one query. So a preference
   * is a filter before another one that has fewer terms.
   */
  search(filters: readonly PreparedFilter[], excluded: ReadonlySet<ReplicaId>): SearchResult<R> {
    const result = this.#searchExcept(excluded, filters);
    return result.kind === 'none' && excluded.size > 0 ? this.#searchExcept(NO_EXCLUSIONS, filters) : result;
  }

  #searchExcept(excluded: ReadonlySet<ReplicaId>, filters: readonly PreparedFilter[]): SearchResult<R> {
    for (const index of [this.#ready, this.#suspect]) {
      for (const filter of filters) {
        const result = index.search(filter, excluded, this.#random);
        if (result.kind !== 'none') return result;
      }
    }
    return { kind: 'none' };
  }
}
