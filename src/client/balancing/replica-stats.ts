import { parseDialable } from '../../core/endpoint.js';
import type { ReplicaLoad } from '../../core/load.js';
import type { Clock } from '../../core/ports.js';
import { Ejection } from './ejection.js';
import { KnownLoad } from './known-load.js';
import { LatencyAverage } from './latency.js';

/** How long a replica that refused a call is avoided while others match, in ms, and for how long at most. */
const AVOIDED_FOR_MS = 1000;
const MAX_AVOIDED_MS = 30_000;

/** How long the median of the latencies is used before it is computed again, in ms. */
const MEDIAN_VALID_FOR_MS = 100;

/** Latency of all replicas before the first response of any, in ms. Only the comparison with others counts, so any value does. */
const UNKNOWN_LATENCY_MS = 1;

/** The observations of a client about one replica: its calls, latency, refusals and failures. */
export class ReplicaStats {
  /** Number of calls in progress. */
  inFlight = 0;
  readonly ejection = new Ejection();
  /** The load that the replica reports: the calls of all its clients. */
  readonly load = new KnownLoad();
  readonly #latency = new LatencyAverage();
  /** Whether the endpoint can be that of a gRPC server. */
  readonly isCallable: boolean;
  readonly #all: StatsTable;
  #pushedBackUntilMs = Number.NEGATIVE_INFINITY;
  #avoidedUntilMs = Number.NEGATIVE_INFINITY;
  /** Number of calls that the replica could not serve, since its last success. */
  #refusals = 0;

  constructor(endpoint: string, all: StatsTable) {
    this.isCallable = isDialable(endpoint);
    this.#all = all;
  }

  /** Time until which the replica has asked not to be called. */
  get pushedBackUntilMs(): number {
    return this.#pushedBackUntilMs;
  }

  /** Average time to the first byte, in ms; undefined before the first response. */
  get latencyMs(): number | undefined {
    return this.#latency.averageMs;
  }

  /** Median of the latencies of all replicas, in ms. */
  get medianLatencyMs(): number {
    return this.#all.medianLatencyMs ?? UNKNOWN_LATENCY_MS;
  }

  /** Returns the expected time to the first byte, in ms. */
  estimateLatencyMs(): number {
    return this.#latency.estimateMs(this.#all.nowMs(), this.medianLatencyMs);
  }

  /** The load of the replica, by its newest report and the calls in progress. Undefined if there is no recent report. */
  get currentLoad(): ReplicaLoad | undefined {
    return this.load.estimate(this.inFlight, this.#all.nowMs());
  }

  /** Whether the replica has reported a limit, and runs as many calls. */
  get isFull(): boolean {
    if (!this.load.hasLimit) return false;
    const { running = 0, limit = Number.POSITIVE_INFINITY } = this.currentLoad ?? {};
    return running >= limit;
  }

  /** Whether the replica reported that calls wait, and they probably still do. */
  get hasWaitingCalls(): boolean {
    return this.load.isWaiting && (this.currentLoad?.waiting ?? 0) > 0;
  }

  /** Records the load in the response of a call in progress, which does not count that call. */
  recordResponseLoad(load: ReplicaLoad): void {
    this.load.recordResponse(load, this.inFlight - 1, this.#all.nowMs());
  }

  /** Records the load that an API server sent. */
  recordListedLoad(load: ReplicaLoad): void {
    this.load.recordListed(load, this.inFlight, this.#all.nowMs());
  }

  recordFirstByte(latencyMs: number): void {
    this.#latency.add(latencyMs, this.#all.nowMs(), this.#all.medianLatencyMs);
  }

  /** Time until which other replicas are preferred, because this one refused calls. */
  get avoidedUntilMs(): number {
    return this.#avoidedUntilMs;
  }

  /**
   * Records that the replica refused a call at once. It has few calls in progress, so pickers would send it even more. One that
   * is busy is avoided for 1 s; one that can't serve the calls is avoided for longer each time.
   */
  recordRefusal(kind: 'busy' | 'incapable'): void {
    const durationMs =
      kind === 'busy' ? AVOIDED_FOR_MS : Math.min(MAX_AVOIDED_MS, AVOIDED_FOR_MS * 2 ** this.#refusals);
    if (kind === 'incapable') this.#refusals++;
    this.#avoidedUntilMs = this.#all.nowMs() + durationMs;
    this.#all.addImpaired(this.#avoidedUntilMs);
  }

  recordSuccess(): void {
    this.#refusals = 0;
    this.#avoidedUntilMs = Number.NEGATIVE_INFINITY;
    this.ejection.recordSuccess();
  }

  /** Records that the replica asked not to be called until a time. */
  pushBack(untilMs: number): void {
    this.#pushedBackUntilMs = Math.max(this.#pushedBackUntilMs, untilMs);
    this.#all.addImpaired(untilMs);
  }
}

/** The observations of a client, by endpoint. */
export class StatsTable {
  /** Number of ejections since the start. */
  ejections = 0;
  readonly #clock: Clock;
  readonly #byEndpoint = new Map<string, ReplicaStats>();
  #medianLatencyMs: number | undefined;
  #medianUntilMs = Number.NEGATIVE_INFINITY;
  #impairedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  /** Median of the replicas' latencies, in ms. Undefined before the first response. */
  get medianLatencyMs(): number | undefined {
    const nowMs = this.nowMs();
    if (nowMs < this.#medianUntilMs) return this.#medianLatencyMs;
    const latencies = [...this.#byEndpoint.values()].flatMap(({ latencyMs }) => latencyMs ?? []).sort((a, b) => a - b);
    this.#medianLatencyMs = latencies[Math.floor(latencies.length / 2)];
    // Before the first responses, each of them changes the median.
    if (latencies.length > 0) this.#medianUntilMs = nowMs + MEDIAN_VALID_FOR_MS;
    return this.#medianLatencyMs;
  }

  /** Whether a replica is ejected, avoided, or has asked not to be called. Otherwise, no list needs to be filtered. */
  get hasImpaired(): boolean {
    return this.nowMs() < this.#impairedUntilMs;
  }

  /** Records that a replica gets no calls, or fewer, until a time. */
  addImpaired(untilMs: number): void {
    this.#impairedUntilMs = Math.max(this.#impairedUntilMs, untilMs);
  }

  get(endpoint: string): ReplicaStats {
    let stats = this.#byEndpoint.get(endpoint);
    if (!stats) {
      stats = new ReplicaStats(endpoint, this);
      this.#byEndpoint.set(endpoint, stats);
    }
    return stats;
  }

  /** Forgets the replicas that are not at these endpoints. Their calls in progress are still counted to them. */
  keepOnly(endpoints: ReadonlySet<string>): void {
    for (const endpoint of this.#byEndpoint.keys()) if (!endpoints.has(endpoint)) this.#byEndpoint.delete(endpoint);
  }
}

function isDialable(endpoint: string): boolean {
  try {
    parseDialable(endpoint);
    return true;
  } catch {
    return false;
  }
}
