import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { FinishedCall } from './finished-call.js';

/** Options of {@link GatewayMetrics}. */
export interface GatewayMetricsOptions {
  readonly version: string;
  /** Returns whether a model is offered, or is an alias. Others are counted together: anyone can send any name. */
  readonly isKnownModel: (name: string) => boolean;
  /** Returns the number of calls that wait for a replica. */
  readonly countWaiting: () => number;
  /** Returns the number of calls in progress. */
  readonly countRunning: () => number;
}

/** Maximum number of models that have time series. Models that come and go would make others without end. */
const MAX_MODELS = 500;

/** Model of the calls of all other models. */
const OTHER = 'other';

/** Operations of OpenTelemetry's GenAI conventions, by the path of the call. Others have the path as their name. */
const OPERATIONS: Readonly<Record<string, string>> = {
  '/chat/completions': 'chat',
  '/responses': 'chat',
  '/completions': 'text_completion',
  '/embeddings': 'embeddings',
};

/** Upper bounds of the buckets. Source: OpenTelemetry's semantic conventions for GenAI metrics. */
const DURATION_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_BUCKETS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50,
];

/**
 * Metrics of a gateway, with the names of OpenTelemetry's GenAI conventions as Prometheus writes them. All labels come from closed
 * sets: operations, models of the fleet, names of keys, and classes of statuses.
 */
export class GatewayMetrics {
  readonly #registry = new Registry();
  readonly #options: GatewayMetricsOptions;
  readonly #models = new Set<string>();
  readonly #durations = new Histogram({
    name: 'gen_ai_server_request_duration_seconds',
    help: 'Time from a request to the end of its response, with all attempts',
    labelNames: ['gen_ai_operation_name', 'gen_ai_request_model', 'http_response_status_class'],
    buckets: DURATION_BUCKETS,
    registers: [this.#registry],
  });
  readonly #firstTokens = new Histogram({
    name: 'gen_ai_server_time_to_first_token_seconds',
    help: 'Time from a request to the first byte of its stream',
    labelNames: ['gen_ai_operation_name', 'gen_ai_request_model'],
    buckets: FIRST_TOKEN_BUCKETS,
    registers: [this.#registry],
  });
  readonly #tokens = new Counter({
    name: 'anyserve_tokens_total',
    help: 'Tokens that engines have counted, in responses that say so',
    labelNames: ['gen_ai_request_model', 'gen_ai_token_type', 'key'],
    registers: [this.#registry],
  });
  readonly #calls = new Counter({
    name: 'anyserve_calls_total',
    help: 'Finished calls',
    labelNames: ['http_response_status_class', 'key'],
    registers: [this.#registry],
  });
  readonly #attempts = new Counter({
    name: 'anyserve_attempts_total',
    help: 'Attempts of calls at replicas',
    registers: [this.#registry],
  });

  constructor(options: GatewayMetricsOptions) {
    this.#options = options;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    createGauge('anyserve_requests_waiting', 'Calls that wait for a replica', options.countWaiting);
    createGauge('anyserve_requests_running', 'Calls in progress, also those that wait', options.countRunning);
    new Gauge({ name: 'anyserve_build_info', help: 'Version', labelNames: ['version'], registers })
      .labels(options.version)
      .set(1);

    function createGauge(name: string, help: string, read: () => number): void {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    }
  }

  /** Type of the text for `content-type`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Returns the metrics in the format of Prometheus. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Counts a call. */
  record({ path, model, status, durationMs, firstByteMs, usage, attempts, caller = '' }: FinishedCall): void {
    const operation = OPERATIONS[path] ?? path.slice(1);
    const name = this.#toLabel(model);
    const statusClass = `${Math.floor(status / 100)}xx`;
    this.#durations.labels(operation, name, statusClass).observe(durationMs / 1000);
    if (firstByteMs !== undefined) this.#firstTokens.labels(operation, name).observe(firstByteMs / 1000);
    this.#calls.labels(statusClass, caller).inc();
    this.#attempts.inc(attempts);
    if (!usage) return;
    this.#tokens.labels(name, 'input', caller).inc(usage.input);
    this.#tokens.labels(name, 'output', caller).inc(usage.output);
  }

  #toLabel(model: string | undefined): string {
    if (model === undefined) return OTHER;
    if (this.#models.has(model)) return model;
    if (this.#models.size >= MAX_MODELS || !this.#options.isKnownModel(model)) return OTHER;
    this.#models.add(model);
    return model;
  }
}
