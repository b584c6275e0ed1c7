import type { ReplicaLoad } from '../../core/load.js';
import { type CountedFailure, Ejection } from './ejection.js';
import type { EndpointStats } from './endpoint-stats.js';
import { MAX_PUSH_BACK_MS } from './push-back.js';

/** How long a replica that refused a call is avoided while others match, in ms, and for how long at most. */
const AVOIDED_FOR_MS = 1000;
const MAX_AVOIDED_MS = 30_000;

/** Latency of all replicas before the first response of any, in ms. Only the comparison with others counts, so any value does. */
const UNKNOWN_LATENCY_MS = 1;

/** The observations of a client about one replica, for the calls of one model: its refusals and failures, and those of its endpoint. */
export class ReplicaStats {
  readonly endpoint: EndpointStats;
  /** Ejection after failures of calls of this model. */
  readonly ejection = new Ejection();
  #avoidedUntilMs = Number.NEGATIVE_INFINITY;
  /** Number of calls that the replica could not serve, since its last success. */
  #refusals = 0;

  constructor(endpoint: EndpointStats) {
    this.endpoint = endpoint;
  }

  /** Number of calls in progress. */
  get inFlight(): number {
    return this.endpoint.inFlight;
  }

  /** Average time to the first byte, in ms; undefined before the first response. */
  get latencyMs(): number | undefined {
    return this.endpoint.latency.averageMs;
  }

  /** Median of the latencies of all replicas, in ms. */
  get medianLatencyMs(): number {
    return this.endpoint.all.medianLatencyMs ?? UNKNOWN_LATENCY_MS;
  }

  /** Returns the expected time to the first byte, in ms. */
  estimateLatencyMs(): number {
    return this.endpoint.latency.estimateMs(this.endpoint.all.nowMs(), this.medianLatencyMs);
  }

  /** The load of the replica, by its newest report and the calls in progress. Undefined if there is no recent report. */
  get currentLoad(): ReplicaLoad | undefined {
    return this.endpoint.currentLoad;
  }

  /** Whether the replica has reported a limit, and runs as many calls. */
  get isFull(): boolean {
    if (!this.endpoint.load.hasLimit) return false;
    const { running = 0, limit = Number.POSITIVE_INFINITY } = this.currentLoad ?? {};
    return running >= limit;
  }

  /** Whether the replica reported that calls wait, and they probably still do. */
  get hasWaitingCalls(): boolean {
    return this.endpoint.load.isWaiting && (this.currentLoad?.waiting ?? 0) > 0;
  }

  /** Records the load in the response of a call in progress, which does not count that call. */
  recordResponseLoad(load: ReplicaLoad): void {
    const { endpoint } = this;
    endpoint.load.recordResponse(load, endpoint.inFlight - 1, endpoint.all.nowMs());
  }

  recordFirstByte(latencyMs: number): void {
    const { latency, all } = this.endpoint;
    latency.add(latencyMs, all.nowMs(), all.medianLatencyMs);
  }

  /** Time until which the replica is not called, because it has asked for that. */
  get pushedBackUntilMs(): number {
    return this.endpoint.pushedBackUntilMs;
  }

  /** Time until which other replicas are preferred, because this one refused calls. */
  get avoidedUntilMs(): number {
    return Math.max(this.#avoidedUntilMs, this.endpoint.avoidedUntilMs);
  }

  /** Whether the replica was unavailable since its last success. One that fails internally is there. */
  get wasUnavailable(): boolean {
    return this.ejection.wasUnavailable || this.endpoint.ejection.wasUnavailable;
  }

  isEjected(nowMs: number): boolean {
    return this.ejection.isEjected(nowMs) || this.endpoint.ejection.isEjected(nowMs);
  }

  /**
   * Records that the replica refused a call at once. It has few calls in progress, so pickers would send it even more. One that
   * is busy is avoided for 1 s; one that can't serve the calls of this model is avoided for longer each time.
   */
  recordRefusal(kind: 'busy' | 'incapable'): void {
    const { endpoint } = this;
    const nowMs = endpoint.all.nowMs();
    if (kind === 'busy') {
      endpoint.avoidedUntilMs = nowMs + AVOIDED_FOR_MS;
    } else {
      this.#avoidedUntilMs = nowMs + Math.min(MAX_AVOIDED_MS, AVOIDED_FOR_MS * 2 ** this.#refusals);
      this.#refusals++;
    }
    endpoint.all.addImpaired(this.avoidedUntilMs);
  }

  recordSuccess(): void {
    const { endpoint } = this;
    this.#refusals = 0;
    this.#avoidedUntilMs = Number.NEGATIVE_INFINITY;
    this.ejection.recordSuccess();
    endpoint.avoidedUntilMs = Number.NEGATIVE_INFINITY;
    endpoint.ejection.recordSuccess();
  }

  /**
   * Records a failure. Returns the ejection that it makes necessary, if any: of the endpoint if it can't be connected to, else of this
   * model only.
   */
  recordFailure(kind: CountedFailure, { isConnection }: { readonly isConnection: boolean }): Ejection | undefined {
    const isEndpointOut = isConnection && this.endpoint.ejection.recordFailure(kind);
    const isModelOut = this.ejection.recordFailure(kind);
    if (isEndpointOut) return this.endpoint.ejection;
    return isModelOut ? this.ejection : undefined;
  }

  /** Records that the replica asked not to be called for some time. */
  pushBack(askedMs: number): void {
    const { endpoint } = this;
    const nowMs = endpoint.all.nowMs();
    endpoint.askedUntilMs = Math.max(endpoint.askedUntilMs, nowMs + askedMs);
    endpoint.pushedBackUntilMs = Math.max(endpoint.pushedBackUntilMs, nowMs + Math.min(askedMs, MAX_PUSH_BACK_MS));
    endpoint.all.addImpaired(endpoint.pushedBackUntilMs);
  }
}
