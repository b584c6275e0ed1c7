import type { ListedReplica } from '../../api/replica-list-json.js';
import { listPairs } from '../../core/capability.js';
import type { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { raceWithAbort, sleep } from '../async-waits.js';
import type { ClientReplica } from '../client-options.js';
import { createNoListError } from '../connection-errors.js';
import type {
  AttemptOutcome,
  AttemptRecord,
  Discovery,
  DiscoveryRequest,
  DiscoveryResult,
  Target,
} from '../discovery.js';
import { Candidates } from './candidates.js';
import type { CountedFailure } from './ejection.js';
import type { EndpointStats } from './endpoint-stats.js';
import type { ReplicaSource } from './fleet.js';
import type { Picker } from './pickers/picker.js';
import type { IsPreferred } from './preference.js';
import { MAX_PUSH_BACK_MS, readPushBackMs } from './push-back.js';
import type { ReplicaStats } from './replica-stats.js';
import { classifyFailure, type FailureKind } from './retry-rules.js';
import type { StatsTable } from './stats-table.js';
import { type AttemptOwner, TableAttempt } from './table-attempt.js';

/** Timeout for the API servers when the table has only replicas that failed, in ms. */
const OTHER_REPLICA_TIMEOUT_MS = 1000;

/** Timeout for the first list of replicas, in ms. */
const LOAD_TIMEOUT_MS = 3000;

/** Maximum time for which the first call with an affinity key waits for the table, in ms. */
const AFFINITY_WAIT_MS = 500;

/** Options of a {@link TableDiscovery}. */
export interface TableDiscoveryOptions {
  /** The replicas that match. It is started by the first use. */
  readonly source: ReplicaSource;
  /**
   * Asks the API servers: while the list loads, and before the result is that no replica matches. Without it, calls wait for
   * the list.
   */
  readonly fallback?: Discovery | undefined;
  readonly picker: Picker;
  readonly isPreferred?: IsPreferred | undefined;
  readonly clock: Clock;
}

/**
 * Finds targets in a table of the matching replicas, which the API servers keep up to date. A picker chooses among them. A
 * call waits for an API server only before the table is loaded, or if no other replica is left for it.
 */
export class TableDiscovery implements Discovery, AttemptOwner {
  readonly hasOthers = true;
  readonly #options: TableDiscoveryOptions;
  readonly #stats: StatsTable;
  readonly #candidates: Candidates;
  #lastTarget: Target | undefined;

  constructor(options: TableDiscoveryOptions) {
    this.#options = options;
    this.#stats = options.source.stats;
    this.#candidates = new Candidates(options.source, options.isPreferred);
  }

  get lastTarget(): Target | undefined {
    return this.#lastTarget;
  }

  find(request: DiscoveryRequest): DiscoveryResult | Promise<DiscoveryResult> {
    const { source } = this.#options;
    source.start();
    return source.isLoaded ? this.#findInTable(request) : this.#findBeforeLoad(request);
  }

  /** Asks the API servers. A call with an affinity key waits for the list, because they would return any replica. */
  async #findBeforeLoad(request: DiscoveryRequest): Promise<DiscoveryResult> {
    const { source, fallback } = this.#options;
    const maxMs = fallback ? AFFINITY_WAIT_MS : LOAD_TIMEOUT_MS;
    if (!fallback || request.affinity !== undefined) {
      const isOver = this.#waitForList(Math.min(maxMs, request.timeoutMs));
      await raceWithAbort(isOver, request.cancellation.signal);
    }
    return source.isLoaded ? this.#findInTable(request) : this.#askServers(request, undefined);
  }

  async #waitForList(maxMs: number): Promise<void> {
    const loaded = new AbortController();
    void this.#options.source.loaded.then(() => loaded.abort());
    await sleep(this.#options.clock, maxMs, loaded.signal);
  }

  #findInTable(request: DiscoveryRequest): DiscoveryResult | Promise<DiscoveryResult> {
    const choice = this.#candidates.choose(request.excluded, request.leavesOutFull);
    if (choice.kind === 'pushed_back' || choice.kind === 'full') return choice;
    if (choice.kind === 'none') return this.#askServers(request, undefined);
    const { target } = this.#options.picker.pick(choice.candidates, request);
    return choice.isRetry ? this.#askServers(request, target) : { kind: 'found', target };
  }

  findOther(request: Pick<DiscoveryRequest, 'excluded' | 'affinity'>): Target | undefined {
    if (!this.#options.source.isLoaded) return undefined;
    const choice = this.#candidates.choose(request.excluded);
    if (choice.kind !== 'candidates' || choice.isRetry) return undefined;
    return this.#options.picker.pick(choice.candidates, request).target;
  }

  beginAttempt(target: Target): AttemptRecord {
    return new TableAttempt(this, target, this.#options.source.getStats(target.endpoint));
  }

  recordResponse(target: Target): void {
    this.#lastTarget = target;
  }

  /** Whether replicas match, and all of them ask not to be called or run as many calls as they can. */
  get isBusy(): boolean {
    const { kind } = this.#candidates.choose([], true);
    return kind === 'pushed_back' || kind === 'full';
  }

  /** Number of replicas in the list, in any state. */
  get count(): number {
    return this.#options.source.replicas.size;
  }

  hasLeft({ endpoint }: Target): boolean {
    if (!this.#options.source.isLoaded) return false;
    return this.#options.source.getStats(endpoint).isEjected(this.#stats.nowMs()) || !this.#candidates.has(endpoint);
  }

  hasHealthyOther({ endpoint }: Target): boolean {
    // An API server can know another one before the list is complete.
    return !this.#options.source.isLoaded || this.#candidates.hasHealthyOther(endpoint);
  }

  async isListed(target: Target, signal: AbortSignal): Promise<boolean> {
    const { source, fallback } = this.#options;
    const isUnknown = !source.isLoaded || target.replicaId === undefined;
    if (isUnknown && fallback) return fallback.isListed(target, signal);
    const listed = target.replicaId && source.replicas.get(target.replicaId);
    return !!listed && listed.replica.endpoint === target.endpoint && listed.state !== 'suspect';
  }

  async listReplicas(): Promise<readonly ClientReplica[]> {
    const { source } = this.#options;
    source.start();
    if (!source.isLoaded) await this.#waitForList(LOAD_TIMEOUT_MS);
    if (!source.isLoaded) throw createNoListError();
    const nowMs = this.#stats.nowMs();
    return [...source.replicas.values()].map((listed) =>
      toClientReplica(listed, this.#stats.get(listed.replica.endpoint), nowMs),
    );
  }

  close(): void {
    this.#options.source.close();
    this.#options.fallback?.close();
  }

  /**
   * Asks the API servers. A replica that has just registered is found before the table has it, for example the successor of
   * one that died. If they know no other, `known` is the result.
   */
  async #askServers(request: DiscoveryRequest, known: Target | undefined): Promise<DiscoveryResult> {
    const { source, fallback } = this.#options;
    const { timeoutMs, cancellation } = request;
    if (!fallback) {
      if (!source.isLoaded) throw createNoListError();
      return known ? { kind: 'found', target: known } : { kind: 'none', isWarming: source.isWarming };
    }
    const maxMs = known ? Math.min(timeoutMs, OTHER_REPLICA_TIMEOUT_MS) : timeoutMs;
    try {
      const found = await fallback.find({ ...request, timeoutMs: maxMs });
      const isAllowed = found.kind !== 'found' || !this.#isPushedBack(found.target);
      return isAllowed || !known ? found : { kind: 'found', target: known };
    } catch (error) {
      if (!source.isLoaded || cancellation.isCancelled) throw error;
      return known ? { kind: 'found', target: known } : { kind: 'none', isWarming: source.isWarming };
    }
  }

  #isPushedBack({ endpoint }: Target): boolean {
    return this.#stats.get(endpoint).pushedBackUntilMs > this.#stats.nowMs();
  }

  recordOutcome(target: Target, stats: ReplicaStats, outcome: AttemptOutcome): void {
    if (outcome.kind === 'success') {
      this.#lastTarget = target;
      stats.recordSuccess();
    } else if (outcome.kind === 'failure') {
      const isBlamed = this.#recordFailure(stats, outcome.error);
      if (isBlamed && this.#lastTarget?.endpoint === target.endpoint) this.#lastTarget = undefined;
    }
  }

  /** Records a failure. Returns false if the caller's request is its likely cause. */
  #recordFailure(stats: ReplicaStats, error: AnyserveError): boolean {
    const kind = classifyFailure(error);
    if (kind === 'final') return false;
    const pushBackMs = readPushBackMs(error);
    if (pushBackMs !== undefined && pushBackMs > 0) {
      this.#recordPushBack(stats, pushBackMs);
      return true;
    }
    if (kind === 'busy' || kind === 'incapable') stats.recordRefusal(kind);
    const counted = toCountedFailure(kind, error);
    const due = counted && stats.recordFailure(counted, { isConnection: kind === 'not_started' });
    if (due) this.#candidates.eject(stats, due);
    return true;
  }

  #recordPushBack(stats: ReplicaStats, pushBackMs: number): void {
    if (pushBackMs > MAX_PUSH_BACK_MS && this.#candidates.eject(stats, stats.endpoint.ejection, MAX_PUSH_BACK_MS))
      return;
    stats.pushBack(pushBackMs);
  }
}

/** Returns as what a failure counts for the ejection of a replica; undefined if it doesn't count. */
function toCountedFailure(kind: FailureKind, { code }: AnyserveError): CountedFailure | undefined {
  if (kind === 'internal') return 'internal';
  return kind === 'not_started' || code === 'unavailable' ? 'unavailable' : undefined;
}

function toClientReplica(
  { replica, state = 'ready', cordon, weight }: ListedReplica,
  { inFlight, latency, load, ejectedUntilMs, pushedBackUntilMs }: EndpointStats,
  nowMs: number,
): ClientReplica {
  const known = load.describe(nowMs);
  return {
    id: replica.id,
    endpoint: replica.endpoint,
    state,
    isCordoned: cordon?.cordoned ?? false,
    weight,
    capabilities: replica.capabilities.map(({ pairs }) => Object.fromEntries(listPairs(pairs))),
    callsInProgress: inFlight,
    latencyMs: latency.averageMs,
    load: known?.load,
    loadAgeMs: known?.ageMs,
    ejectedForMs: Math.max(0, ejectedUntilMs - nowMs),
    pushedBackForMs: Math.max(0, pushedBackUntilMs - nowMs),
  };
}
