import type { Worker } from 'node:cluster';
import type { Clock } from '../../core/ports.js';
import { ProcessMetrics } from '../../telemetry/process-metrics.js';
import { type MessageToPrimary, sendToProcess } from './process-messages.js';

/** Timeout for the metrics of one process, in ms. Those of a frozen process are the ones that it sent last. */
const METRICS_TIMEOUT_MS = 1000;

type MetricsMessage = Exclude<MessageToPrimary, { readonly kind: 'listening' }>;

/** Responds to the requests of processes for the metrics of all of them. */
export class MetricsRequests {
  readonly #clock: Clock;
  readonly #processes: ReadonlySet<Worker>;
  readonly #metrics = new ProcessMetrics<Worker>();
  /** Functions that record that a process has sent its metrics, by request. */
  readonly #arrivals = new Map<number, (worker: Worker) => void>();
  #lastRequest = 0;

  constructor(clock: Clock, processes: ReadonlySet<Worker>) {
    this.#clock = clock;
    this.#processes = processes;
  }

  receive(worker: Worker, message: MetricsMessage): void {
    switch (message.kind) {
      case 'read-all-metrics':
        void this.#respond(worker, message.request);
        break;
      case 'metrics':
        if (this.#processes.has(worker)) this.#metrics.record(worker, message.snapshot);
        this.#arrivals.get(message.request)?.(worker);
        break;
      default:
        message satisfies never;
    }
  }

  /** Records that a process has ended. */
  recordEnd(worker: Worker): void {
    this.#metrics.recordEnd(worker);
    for (const arrive of this.#arrivals.values()) arrive(worker);
  }

  async #respond(worker: Worker, request: number): Promise<void> {
    await this.#readAll();
    sendToProcess(worker, { kind: 'all-metrics', request, text: await this.#metrics.render() });
  }

  /** Resolves when each process has sent its metrics or has ended, or after the timeout. */
  async #readAll(): Promise<void> {
    const request = ++this.#lastRequest;
    const awaited = new Set(this.#processes);
    let cancelTimeout = (): void => {};
    await new Promise<void>((resolve) => {
      cancelTimeout = this.#clock.schedule(METRICS_TIMEOUT_MS, resolve);
      this.#arrivals.set(request, (worker) => {
        if (awaited.delete(worker) && awaited.size === 0) resolve();
      });
      for (const worker of awaited) sendToProcess(worker, { kind: 'read-metrics', request });
    });
    cancelTimeout();
    this.#arrivals.delete(request);
  }
}
