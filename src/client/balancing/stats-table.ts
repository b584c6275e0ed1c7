import type { Clock } from '../../core/ports.js';
import { type AllStats, EndpointStats } from './endpoint-stats.js';
import { ReplicaStats } from './replica-stats.js';

/** How long the median of the latencies is used before it is computed again, in ms. */
const MEDIAN_VALID_FOR_MS = 100;

/** Maximum number of models of an endpoint with observations. An engine can load new adapters for years. */
const MAX_MODELS = 1000;

/** The observations of a client, by endpoint and model. */
export class StatsTable implements AllStats {
  /** Number of ejections since the start. */
  ejections = 0;
  readonly #clock: Clock;
  readonly #byEndpoint = new Map<string, KnownEndpoint>();
  #medianLatencyMs: number | undefined;
  #medianUntilMs = Number.NEGATIVE_INFINITY;
  #impairedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  get medianLatencyMs(): number | undefined {
    const nowMs = this.nowMs();
    if (nowMs < this.#medianUntilMs) return this.#medianLatencyMs;
    const latencies = [...this.#byEndpoint.values()]
      .flatMap(({ stats }) => stats.latency.averageMs ?? [])
      .sort((a, b) => a - b);
    this.#medianLatencyMs = latencies[Math.floor(latencies.length / 2)];
    // Before the first responses, each of them changes the median.
    if (latencies.length > 0) this.#medianUntilMs = nowMs + MEDIAN_VALID_FOR_MS;
    return this.#medianLatencyMs;
  }

  /** Whether a replica is ejected, avoided, or has asked not to be called. Otherwise, no list needs to be filtered. */
  get hasImpaired(): boolean {
    return this.nowMs() < this.#impairedUntilMs;
  }

  addImpaired(untilMs: number): void {
    this.#impairedUntilMs = Math.max(this.#impairedUntilMs, untilMs);
  }

  /** Returns the observations about an endpoint. */
  get(endpoint: string): EndpointStats {
    return this.#get(endpoint).stats;
  }

  /** Returns the observations about an endpoint for the calls of one model. */
  getForModel(endpoint: string, model: string): ReplicaStats {
    const { stats, byModel } = this.#get(endpoint);
    let ofModel = byModel.get(model);
    if (!ofModel) {
      ofModel = new ReplicaStats(stats);
      byModel.set(model, ofModel);
      const [oldest] = byModel.keys();
      if (byModel.size > MAX_MODELS && oldest !== undefined) byModel.delete(oldest);
    }
    return ofModel;
  }

  /** Forgets the replicas that are not at these endpoints. Their calls in progress are still counted to them. */
  keepOnly(endpoints: ReadonlySet<string>): void {
    for (const endpoint of this.#byEndpoint.keys()) if (!endpoints.has(endpoint)) this.#byEndpoint.delete(endpoint);
  }

  #get(endpoint: string): KnownEndpoint {
    let known = this.#byEndpoint.get(endpoint);
    if (!known) {
      known = { stats: new EndpointStats(endpoint, this), byModel: new Map() };
      this.#byEndpoint.set(endpoint, known);
    }
    return known;
  }
}

/** The observations about an endpoint, and those for each model. */
interface KnownEndpoint {
  readonly stats: EndpointStats;
  readonly byModel: Map<string, ReplicaStats>;
}
