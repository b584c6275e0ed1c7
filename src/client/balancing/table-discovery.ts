import type { ErrorCode } from '../../core/errors.js';
import type { ReplicaId } from '../../core/ids.js';
import type { Clock, Random } from '../../core/ports.js';
import type { Cancellation } from '../cancellation.js';
import type { AttemptOutcome, Discovery, DiscoveryResult, Target } from '../discovery.js';
import type { ReplicaTable } from './replica-table.js';

/** How long a replica is avoided after a failed attempt while others match, in ms. A dead one has left the list by then. */
const AVOIDED_FOR_MS = 5000;

/** Timeout for the API servers when the table has only replicas that failed, in ms. */
const OTHER_REPLICA_TIMEOUT_MS = 1000;

/** Errors caused by the request, for which a replica is not avoided. */
const CALLER_ERRORS: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** Options of a {@link TableDiscovery}. */
export interface TableDiscoveryOptions {
  readonly table: ReplicaTable;
  /** Starts to fill the table. Called once, before the first use. */
  readonly startTable: () => void;
  readonly stopTable: () => void;
  /** Asks the API servers: while the table loads, and before the result is that no replica matches. */
  readonly fallback: Discovery;
  readonly clock: Clock;
  readonly random: Random;
}

/** The replicas of the table that calls can go to. */
interface Candidates {
  readonly replicas: ReplicaTable['replicas'];
  readonly ready: readonly Target[];
  /** Replicas that seem dead, for calls that no ready replica matches. */
  readonly suspect: readonly Target[];
}

/**
 * Finds targets in a table of the matching replicas, which the API servers keep up to date. Each ready replica is equally
 * likely. No call waits for an API server, and calls go on while no API server can be reached.
 */
export class TableDiscovery implements Discovery {
  readonly hasOthers = true;
  readonly #options: TableDiscoveryOptions;
  readonly #failedAtMs = new Map<string, number>();
  #candidates: Candidates | undefined;
  #lastTarget: Target | undefined;
  #isStarted = false;

  constructor(options: TableDiscoveryOptions) {
    this.#options = options;
  }

  get lastTarget(): Target | undefined {
    return this.#lastTarget;
  }

  find(
    excluded: readonly ReplicaId[],
    timeoutMs: number,
    cancellation: Cancellation,
  ): DiscoveryResult | Promise<DiscoveryResult> {
    const { table, startTable, fallback } = this.#options;
    if (!this.#isStarted) {
      this.#isStarted = true;
      startTable();
    }
    const target = table.isLoaded ? this.#choose(excluded) : undefined;
    const isExcluded = target?.replicaId !== undefined && excluded.includes(target.replicaId);
    if (target && !isExcluded) return { kind: 'found', target };
    // A replica that has just registered is routed to before the table has it, for example the successor of one that died.
    const maxMs = target ? Math.min(timeoutMs, OTHER_REPLICA_TIMEOUT_MS) : timeoutMs;
    const asked = Promise.resolve(fallback.find(excluded, maxMs, cancellation));
    return asked.catch((error): DiscoveryResult => {
      if (!table.isLoaded || cancellation.isCancelled) throw error;
      return target ? { kind: 'found', target } : { kind: 'none', isWarming: table.isWarming };
    });
  }

  reportMessage(target: Target): void {
    this.#lastTarget = target;
  }

  reportOutcome(target: Target, outcome: AttemptOutcome): void {
    if (outcome.kind === 'success') {
      this.#lastTarget = target;
      this.#failedAtMs.delete(target.endpoint);
    } else if (outcome.kind === 'failure' && !CALLER_ERRORS.has(outcome.error.code)) {
      this.#failedAtMs.set(target.endpoint, this.#options.clock.nowMs());
      if (this.#lastTarget?.endpoint === target.endpoint) this.#lastTarget = undefined;
    }
  }

  async isListed(target: Target, signal: AbortSignal): Promise<boolean> {
    const { table, fallback } = this.#options;
    if (!table.isLoaded || target.replicaId === undefined) return fallback.isListed(target, signal);
    const listed = table.replicas.get(target.replicaId);
    return listed !== undefined && listed.replica.endpoint === target.endpoint && listed.state !== 'suspect';
  }

  close(): void {
    this.#options.stopTable();
    this.#options.fallback.close();
  }

  /** Chooses a ready replica, else a suspect one; of these one that has not failed, else any. */
  #choose(excluded: readonly ReplicaId[]): Target | undefined {
    const { ready, suspect } = this.#getCandidates();
    const isPreferred = this.#createPreference(excluded);
    if (!isPreferred) return this.#pick(ready) ?? this.#pick(suspect);
    return (
      this.#pick(ready.filter(isPreferred)) ??
      this.#pick(suspect.filter(isPreferred)) ??
      this.#pick(ready) ??
      this.#pick(suspect)
    );
  }

  /** Returns a filter for replicas that are neither excluded nor failed recently; undefined if it would accept all. */
  #createPreference(excluded: readonly ReplicaId[]): ((target: Target) => boolean) | undefined {
    const failedBeforeMs = this.#options.clock.nowMs() - AVOIDED_FOR_MS;
    for (const [endpoint, atMs] of this.#failedAtMs) if (atMs <= failedBeforeMs) this.#failedAtMs.delete(endpoint);
    if (excluded.length === 0 && this.#failedAtMs.size === 0) return undefined;
    return ({ replicaId, endpoint }) =>
      !this.#failedAtMs.has(endpoint) && (replicaId === undefined || !excluded.includes(replicaId));
  }

  #pick(targets: readonly Target[]): Target | undefined {
    return targets[Math.floor(this.#options.random.fraction() * targets.length)];
  }

  #getCandidates(): Candidates {
    const { replicas } = this.#options.table;
    if (this.#candidates?.replicas === replicas) return this.#candidates;
    const [ready, suspect]: [Target[], Target[]] = [[], []];
    for (const [replicaId, { replica, state = 'ready', cordon }] of replicas) {
      if (cordon?.cordoned) continue;
      if (state === 'ready') ready.push({ endpoint: replica.endpoint, replicaId });
      else if (state === 'suspect') suspect.push({ endpoint: replica.endpoint, replicaId });
    }
    this.#candidates = { replicas, ready, suspect };
    return this.#candidates;
  }
}
