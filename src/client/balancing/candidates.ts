import type { ReplicaId } from '../../core/ids.js';
import type { PushedBack } from '../discovery.js';
import type { Ejection } from './ejection.js';
import type { ReplicaSource } from './fleet.js';
import type { ReplicaCandidate } from './pickers/picker.js';
import { choosePreferred, type IsPreferred } from './preference.js';
import type { ReplicaStats } from './replica-stats.js';
import type { StatsTable } from './stats-table.js';

/** The candidates for a call, or why there are none. */
export type CandidateChoice =
  /** `isRetry`: all of them have failed in this call. */
  | { readonly kind: 'candidates'; readonly candidates: readonly ReplicaCandidate[]; readonly isRetry: boolean }
  | PushedBack
  /** All of them run as many calls as they can. */
  | { readonly kind: 'full' }
  | { readonly kind: 'none' };

/** Groups of candidates, in the order of preference. */
interface Groups {
  readonly replicas: ReplicaSource['replicas'];
  readonly ready: readonly ReplicaCandidate[];
  /** The preferred ones of these, or all if none is preferred. */
  readonly preferred: readonly ReplicaCandidate[];
  /** Replicas that seem dead, for calls that no ready replica matches. */
  readonly suspect: readonly ReplicaCandidate[];
}

/**
 * The replicas of a table that calls can go to. A call goes to a ready replica, else to a suspect one; if all have just refused
 * calls, to one of those; if all are ejected, to an ejected one; if all have failed in this call, to one of those. A replica that asked not to be called is not called. Of
 * the replicas that a call can go to in this order, it goes to a preferred one if there is one.
 */
export class Candidates {
  readonly #source: ReplicaSource;
  readonly #stats: StatsTable;
  readonly #isPreferred: IsPreferred | undefined;
  #groups: Groups | undefined;

  constructor(source: ReplicaSource, isPreferred?: IsPreferred) {
    this.#source = source;
    this.#stats = source.stats;
    this.#isPreferred = isPreferred;
  }

  /**
   * Returns the candidates for a call at which these replicas have failed. With `leavesOutFull`, leaves out those that run as many
   * calls as they can.
   */
  choose(excluded: readonly ReplicaId[], leavesOutFull = false): CandidateChoice {
    const { ready, preferred, suspect } = this.#getGroups();
    const isFull = (candidate: ReplicaCandidate): boolean => leavesOutFull && candidate.stats.isFull;
    if (excluded.length === 0 && !this.#stats.hasImpaired && ready.length > 0 && !preferred.some(isFull))
      return { kind: 'candidates', candidates: preferred, isRetry: false };
    const nowMs = this.#stats.nowMs();
    const isUntried = ({ target }: ReplicaCandidate): boolean =>
      target.replicaId === undefined || !excluded.includes(target.replicaId);
    const isPushedBack = ({ stats }: ReplicaCandidate): boolean => stats.pushedBackUntilMs > nowMs;
    const isOpen = (candidate: ReplicaCandidate): boolean => !isPushedBack(candidate) && !isFull(candidate);
    const isIn = ({ stats }: ReplicaCandidate): boolean => !stats.isEjected(nowMs);
    const isWilling = ({ stats }: ReplicaCandidate): boolean => stats.avoidedUntilMs <= nowMs;
    const filters: ((candidate: ReplicaCandidate) => boolean)[] = [
      (one) => isUntried(one) && isOpen(one) && isIn(one) && isWilling(one),
      (one) => isUntried(one) && isOpen(one) && isIn(one),
      (one) => isUntried(one) && isOpen(one),
      isOpen,
    ];
    for (const [rank, filter] of filters.entries()) {
      for (const group of [ready, suspect]) {
        const candidates = choosePreferred(group.filter(filter));
        if (candidates.length > 0) return { kind: 'candidates', candidates, isRetry: rank === filters.length - 1 };
      }
    }
    const all = [...ready, ...suspect];
    if (all.length === 0) return { kind: 'none' };
    if (!all.every(isPushedBack)) return { kind: 'full' };
    const untilMs = Math.min(...all.map(({ stats }) => stats.pushedBackUntilMs));
    return {
      kind: 'pushed_back',
      untilMs,
      askedUntilMs: Math.min(...all.map(({ stats }) => stats.endpoint.askedUntilMs)),
    };
  }

  /** Whether the table has another candidate than this endpoint that was not unavailable since its last success. */
  hasHealthyOther(endpoint: string): boolean {
    const { ready, suspect } = this.#getGroups();
    const isHealthy = ({ target, stats }: ReplicaCandidate): boolean =>
      target.endpoint !== endpoint && !stats.wasUnavailable;
    return ready.some(isHealthy) || suspect.some(isHealthy);
  }

  /** Whether a candidate has this endpoint. */
  has(endpoint: string): boolean {
    const { ready, suspect } = this.#getGroups();
    const isSame = ({ target }: ReplicaCandidate): boolean => target.endpoint === endpoint;
    return ready.some(isSame) || suspect.some(isSame);
  }

  /**
   * Ejects a replica, for all models or for one, unless it is the last one or half of the others are ejected already. Returns whether it
   * did.
   */
  eject({ endpoint }: ReplicaStats, ejection: Ejection, durationMs?: number): boolean {
    const { ready, suspect } = this.#getGroups();
    const nowMs = this.#stats.nowMs();
    const all = [...ready, ...suspect];
    const ejected = all.filter(({ stats }) => stats.isEjected(nowMs)).length;
    if (ejected + 1 > all.length / 2) return false;
    if (!ejection.isEjected(nowMs)) this.#stats.ejections++;
    ejection.eject(nowMs, durationMs);
    endpoint.ejectedUntilMs = Math.max(endpoint.ejectedUntilMs, ejection.untilMs);
    this.#stats.addImpaired(ejection.untilMs);
    return true;
  }

  #getGroups(): Groups {
    const { replicas } = this.#source;
    if (this.#groups?.replicas === replicas) return this.#groups;
    const [ready, suspect]: [ReplicaCandidate[], ReplicaCandidate[]] = [[], []];
    for (const [replicaId, listed] of replicas) {
      const { replica, state = 'ready', cordon, weight } = listed;
      const { endpoint } = replica;
      if (cordon?.cordoned || (state !== 'ready' && state !== 'suspect')) continue;
      const candidate: ReplicaCandidate = {
        target: { endpoint, replicaId },
        weight,
        stats: this.#source.getStats(endpoint),
        isPreferred: this.#isPreferred?.(listed) ?? false,
      };
      (state === 'ready' ? ready : suspect).push(candidate);
    }
    const isAnyCallable = [...ready, ...suspect].some(isCallable);
    // If there is nothing else, the failure of the call says what is wrong with the endpoint.
    const isKept = isAnyCallable ? isCallable : () => true;
    const kept = ready.filter(isKept);
    this.#groups = { replicas, ready: kept, preferred: choosePreferred(kept), suspect: suspect.filter(isKept) };
    return this.#groups;
  }
}

/** Returns whether a replica can speak gRPC. An engine that is registered with the URL of its HTTP API is left out. */
function isCallable({ stats }: ReplicaCandidate): boolean {
  return stats.endpoint.isCallable;
}
