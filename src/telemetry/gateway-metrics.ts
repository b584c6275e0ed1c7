import type { CallEvent } from '../core/ports.js';
import { type CallLabels, type CallSeries, CallSeriesTable } from './call-series.js';
import { type FinishedCall, getOperation } from './finished-call.js';
import { GenAiTimes } from './gen-ai-times.js';
import { LabelCounts, type Sample } from './label-counts.js';
import { METRICS_CONTENT_TYPE, MetricsPage } from './metrics-page.js';
import type { MetricsSnapshot } from './process-metrics.js';
import type { RefusedRequest } from './refused-request.js';

/** A call in progress. */
export interface RunningCall {
  readonly model: string | undefined;
  /** Whether it waits for a replica. */
  readonly isWaiting: boolean;
}

/** Options of {@link GatewayMetrics}. */
export interface GatewayMetricsOptions {
  readonly version: string;
  /** Returns whether a model is offered, or is an alias. Others are counted together: anyone can send any name. */
  readonly isKnownModel: (name: string) => boolean;
  readonly listCalls: () => Iterable<RunningCall>;
  /** Counts of attempts by outcome. */
  readonly attempts: AttemptCounts;
  readonly countEjections: () => number;
}

/** Counts the attempts of calls by outcome: `ok` or an error code. */
export class AttemptCounts {
  readonly outcomes = new LabelCounts(['ok']);

  /** Counts an attempt that has ended. Pass this to a caller as `onAttempt`. */
  readonly record = (event: CallEvent): void => {
    if (event.kind === 'attempt_ended') this.outcomes.add([event.code]);
  };
}

/** Maximum number of models that have time series. Models that come and go would make others without end. */
const MAX_MODELS = 500;

/** Statuses of refused requests that are counted from the start. */
const REFUSAL_STATUSES = ['400', '401', '403', '404', '405', '415', '417', '421', '501'];

/** Model of the calls of all other models. */
const OTHER = 'other';

/**
 * Metrics of a gateway, with the names of OpenTelemetry's GenAI conventions as Prometheus writes them. All labels come from closed
 * sets: operations, models of the fleet, names of keys, and classes of statuses.
 */
export class GatewayMetrics {
  /** Type of the text for `content-type`. */
  readonly contentType = METRICS_CONTENT_TYPE;
  readonly #page: MetricsPage;
  readonly #options: GatewayMetricsOptions;
  readonly #models = new Set<string>();
  readonly #times: GenAiTimes;
  readonly #tokens = new LabelCounts();
  readonly #calls = new LabelCounts();
  readonly #series = new CallSeriesTable((labels) => this.#createSeries(labels));
  readonly #refusals = new LabelCounts(REFUSAL_STATUSES);

  constructor(options: GatewayMetricsOptions) {
    this.#options = options;
    this.#page = new MetricsPage(options.version);
    this.#times = new GenAiTimes(this.#page);
    this.#page.add('anyserve_tokens_total', () => this.#tokens.listSamples());
    this.#page.add('anyserve_calls_total', () => this.#calls.listSamples());
    this.#page.add('anyserve_requests_refused_total', () => this.#refusals.listSamples());
    this.#page.add('anyserve_attempts_total', () => options.attempts.outcomes.listSamples());
    this.#page.add('anyserve_requests_waiting', () => this.#countCalls(true));
    this.#page.add('anyserve_requests_running', () => this.#countCalls(false));
    this.#page.add('anyserve_ejections_total', () => [[[], options.countEjections()]]);
  }

  /** Returns the metrics in the format of Prometheus. */
  render(): Promise<string> {
    return this.#page.render();
  }

  /** Returns the metrics for `ProcessMetrics`, which adds them to those of other processes. */
  read(): Promise<MetricsSnapshot> {
    return this.#page.read();
  }

  /** Counts a call. */
  record({ path, model, status, durationMs, firstByteMs, usage, caller = '' }: FinishedCall): void {
    const operation = getOperation(path);
    const name = this.#toLabel(model);
    const statusClass = Math.floor(status / 100);
    const series = this.#series.find({ operation, model: name, caller, statusClass });
    series.durations.record(durationMs);
    series.calls.count++;
    if (firstByteMs !== undefined) this.#times.recordFirstToken(operation, name, firstByteMs);
    if (!usage) return;
    series.tokens ??= {
      input: this.#tokens.get([name, 'input', caller]),
      output: this.#tokens.get([name, 'output', caller]),
    };
    series.tokens.input.count += usage.input;
    series.tokens.output.count += usage.output;
  }

  /** Counts a request that did not become a call. Anyone can send any path, so the only label is the status. */
  recordRefusal({ status }: Pick<RefusedRequest, 'status'>): void {
    this.#refusals.add([String(status)]);
  }

  /** Counts the calls in progress that wait, or that do not, by model. Models without any are listed with 0. */
  #countCalls(waiting: boolean): Iterable<Sample> {
    const counts = new LabelCounts([...this.#models]);
    for (const { model, isWaiting } of this.#options.listCalls()) {
      if (isWaiting === waiting) counts.add([this.#toLabel(model)]);
    }
    return counts.listSamples();
  }

  #createSeries({ operation, model, caller, statusClass }: CallLabels): CallSeries {
    return {
      durations: this.#times.getRequestTimes(operation, model, statusClass),
      calls: this.#calls.get([`${statusClass}xx`, caller]),
      tokens: undefined,
    };
  }

  #toLabel(model: string | undefined): string {
    if (model === undefined) return OTHER;
    if (this.#models.has(model)) return model;
    if (this.#models.size >= MAX_MODELS || !this.#options.isKnownModel(model)) return OTHER;
    this.#models.add(model);
    return model;
  }
}
