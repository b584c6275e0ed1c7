import { DurationHistogram, type DurationSeries } from './duration-histogram.js';
import type { MetricsPage } from './metrics-page.js';

/** Upper bounds of the buckets, in seconds. Source: OpenTelemetry's semantic conventions for GenAI metrics. */
const DURATION_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_BUCKETS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50,
];

/** Times of the requests to models, by operation and model. The caller limits the number of models. */
export class GenAiTimes {
  readonly #durations = new DurationHistogram(DURATION_BUCKETS);
  readonly #firstTokens = new DurationHistogram(FIRST_TOKEN_BUCKETS);

  constructor(page: MetricsPage) {
    page.addHistogram('gen_ai_server_request_duration_seconds', this.#durations);
    page.addHistogram('gen_ai_server_time_to_first_token_seconds', this.#firstTokens);
  }

  /** Records the time of a request, by the class of its HTTP status. */
  recordRequest(operation: string, model: string, status: number, durationMs: number): void {
    this.getRequestTimes(operation, model, Math.floor(status / 100)).record(durationMs);
  }

  /** Returns the times of requests, by the first digit of their HTTP status. */
  getRequestTimes(operation: string, model: string, statusClass: number): DurationSeries {
    return this.#durations.getSeries(operation, model, `${statusClass}xx`);
  }

  /** Records the time to the first part of a stream. */
  recordFirstToken(operation: string, model: string, durationMs: number): void {
    this.#firstTokens.getSeries(operation, model).record(durationMs);
  }
}
