import type { Cordon } from './cordon.js';

/** A replica that matches a query. */
export interface Match {
  readonly id: string;
  /** Undefined if the API server reports no states, as the Python server does. Such a replica is routable. */
  readonly state?: string | undefined;
  /** Time for which the replica has been in that state, in ms. */
  readonly stateAgeMs?: number | undefined;
  /** The last decision of an operator about it. A cordoned replica is not routable in any state. */
  readonly cordon?: Cordon | undefined;
}

/** Number of matches, and the first few of them. */
export interface MatchTally {
  readonly count: number;
  readonly first: readonly Match[];
}

/** Maximum number of matches that are listed by id. */
const MAX_LISTED = 10;

/** Counts matches, and keeps the first few. */
export class MatchCounter implements MatchTally {
  readonly first: Match[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add({ id, state, stateAgeMs, cordon }: Match): void {
    this.#count++;
    if (this.first.length < MAX_LISTED) this.first.push({ id, state, stateAgeMs, cordon });
  }
}

/** Counts the matches with one protocol by their state. */
export class ProtocolCounter {
  readonly ready = new MatchCounter();
  readonly suspect = new MatchCounter();
  readonly unroutable = new MatchCounter();

  /** Number of matches that can be picked. */
  get routableCount(): number {
    return this.ready.count + this.suspect.count;
  }

  add(match: Match): void {
    this.#getCounter(match).add(match);
  }

  /** Adds a match if there is none with its state. */
  addFirst(match: Match): void {
    if (this.#getCounter(match).count === 0) this.add(match);
  }

  #getCounter({ state, cordon }: Match): MatchCounter {
    if (cordon?.cordoned) return this.unroutable;
    if (state === undefined || state === 'ready') return this.ready;
    return state === 'suspect' ? this.suspect : this.unroutable;
  }
}

/** Returns a tally of the matches of several, which have none in common. */
export function concatTallies(...tallies: readonly MatchTally[]): MatchTally {
  const count = tallies.reduce((sum, tally) => sum + tally.count, 0);
  return { count, first: tallies.flatMap(({ first }) => first).slice(0, MAX_LISTED) };
}
