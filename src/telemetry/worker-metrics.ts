import { type ErrorCode, toHttpStatus } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import { DurationHistogram } from './duration-histogram.js';
import { GenAiTimes } from './gen-ai-times.js';
import type { Sample } from './label-counts.js';
import { METRICS_CONTENT_TYPE, MetricsPage } from './metrics-page.js';

/** Upper bounds of the buckets, in seconds. A call of a language model can take minutes. */
const CALL_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** A request for a model, in a worker. Waits for its turn first, then runs. */
export interface MeasuredRequest {
  /** Records that the request has its turn. */
  start(): void;
  /** Records that the request has a response. Only the first one of a stream counts. */
  recordResponse(): void;
  /** Records that the request has ended, with the code of its error if it failed. */
  end(error?: ErrorCode): void;
}

/** Options of {@link WorkerMetrics}. */
export interface WorkerMetricsOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly version: string;
}

/** The metrics of a worker, with the names of OpenTelemetry's conventions for RPC and GenAI as Prometheus writes them. */
export class WorkerMetrics {
  readonly contentType = METRICS_CONTENT_TYPE;
  readonly #page: MetricsPage;
  readonly #clock: WorkerMetricsOptions['clock'];
  readonly #calls = new DurationHistogram(CALL_BUCKETS);
  readonly #times: GenAiTimes;
  readonly #loads = new Map<string, ModelLoad>();

  constructor({ clock, version }: WorkerMetricsOptions) {
    this.#clock = clock;
    this.#page = new MetricsPage(version);
    this.#page.addHistogram('rpc_server_call_duration_seconds', this.#calls);
    this.#times = new GenAiTimes(this.#page);
    this.#page.add('anyserve_requests_running', () => this.#listLoads(({ running }) => running));
    this.#page.add('anyserve_requests_waiting', () => this.#listLoads(({ waiting }) => waiting));
  }

  /** Lists these models with 0 requests until they have some, and forgets others without requests. */
  setModels(names: readonly string[]): void {
    const served = new Set(names);
    for (const [name, { running, waiting }] of this.#loads) {
      if (!served.has(name) && running + waiting === 0) this.#loads.delete(name);
    }
    for (const name of served) this.#getLoad(name);
  }

  /** Counts a call that has ended with a status, such as `OK`. */
  recordCall(method: string, status: string, durationMs: number): void {
    this.#calls.getSeries(method, status).record(durationMs);
  }

  /** Measures a request that waits for its turn from now on. `isStream` tells whether its responses are streamed. */
  measureRequest(operation: string, model: string, isStream: boolean): MeasuredRequest {
    const load = this.#getLoad(model);
    const startedAtMs = this.#clock.nowMs();
    const getDurationMs = (): number => this.#clock.nowMs() - startedAtMs;
    let isRunning = false;
    let awaitsFirst = isStream;
    load.waiting++;
    return {
      start: () => {
        isRunning = true;
        load.waiting--;
        load.running++;
      },
      recordResponse: () => {
        if (awaitsFirst) this.#times.recordFirstToken(operation, model, getDurationMs());
        awaitsFirst = false;
      },
      end: (error) => {
        if (isRunning) load.running--;
        else load.waiting--;
        this.#times.recordRequest(operation, model, error ? toHttpStatus(error) : 200, getDurationMs());
      },
    };
  }

  /** Returns the metrics in the format of Prometheus. */
  render(): Promise<string> {
    return this.#page.render();
  }

  #getLoad(model: string): ModelLoad {
    let load = this.#loads.get(model);
    if (!load) {
      load = { running: 0, waiting: 0 };
      this.#loads.set(model, load);
    }
    return load;
  }

  *#listLoads(read: (load: ModelLoad) => number): Generator<Sample> {
    for (const [model, load] of this.#loads) yield [[model], read(load)];
  }
}

/** Numbers of requests of one model. */
interface ModelLoad {
  running: number;
  waiting: number;
}

/** The metrics of a registered model server: those of the process, and the load that its engine reports. */
export class RegistrationMetrics {
  readonly contentType = METRICS_CONTENT_TYPE;
  readonly #page: MetricsPage;

  /** `getLoad` returns undefined if the load isn't known. */
  constructor(version: string, getLoad: () => ReplicaLoad | undefined = () => undefined) {
    this.#page = new MetricsPage(version);
    const list = (read: (load: ReplicaLoad) => number): Sample[] => {
      const load = getLoad();
      return load ? [[[''], read(load)]] : [];
    };
    this.#page.add('anyserve_requests_running', () => list(({ running }) => running));
    this.#page.add('anyserve_requests_waiting', () => list(({ waiting }) => waiting));
  }

  /** Returns the metrics in the format of Prometheus. */
  render(): Promise<string> {
    return this.#page.render();
  }
}
