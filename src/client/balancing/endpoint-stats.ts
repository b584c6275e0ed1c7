import { isDialable } from '../../core/endpoint.js';
import type { ReplicaLoad } from '../../core/load.js';
import { Ejection } from './ejection.js';
import { KnownLoad } from './known-load.js';
import { LatencyAverage } from './latency.js';

/** The observations of a client about all its replicas. */
export interface AllStats {
  /** Median of the latencies, in ms. Undefined before the first response. */
  readonly medianLatencyMs: number | undefined;
  nowMs(): number;
  /** Records that a replica gets no calls, or fewer, until a time. */
  addImpaired(untilMs: number): void;
}

/**
 * The observations of a client about one endpoint, for the calls of all models: calls in progress, load, latency, push-back, and
 * whether it can be connected to. Those about one model are in `ReplicaStats`: an engine that fails one model can serve another.
 */
export class EndpointStats {
  /** Number of calls in progress. */
  inFlight = 0;
  /** The load that the replica reports: the calls of all its clients. */
  readonly load = new KnownLoad();
  readonly latency = new LatencyAverage();
  /** Ejection after failures to connect. */
  readonly ejection = new Ejection();
  /** Time until which the replica gets no calls, of all models or of one of them, because it failed too often. */
  ejectedUntilMs = Number.NEGATIVE_INFINITY;
  /** Whether the endpoint can be that of a gRPC server. */
  readonly isCallable: boolean;
  readonly all: AllStats;
  /** Time until which the replica is not called, because it has asked for that. */
  pushedBackUntilMs = Number.NEGATIVE_INFINITY;
  /** Time until which the replica has asked not to be called. It can be later, because {@link pushedBackUntilMs} has a maximum. */
  askedUntilMs = Number.NEGATIVE_INFINITY;
  /** Time until which other replicas are preferred, because this one was busy. */
  avoidedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(endpoint: string, all: AllStats) {
    this.isCallable = isDialable(endpoint);
    this.all = all;
  }

  /** The load of the replica, by its newest report and the calls in progress. Undefined if there is no recent report. */
  get currentLoad(): ReplicaLoad | undefined {
    return this.load.estimate(this.inFlight, this.all.nowMs());
  }

  /** Records the load that an API server sent. */
  recordListedLoad(load: ReplicaLoad): void {
    this.load.recordListed(load, this.inFlight, this.all.nowMs());
  }
}
