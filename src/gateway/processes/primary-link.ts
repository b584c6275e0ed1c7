import cluster from 'node:cluster';
import { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import type { MetricsSnapshot } from '../../telemetry/process-metrics.js';
import { type MessageToProcess, sendToPrimary } from './process-messages.js';

/** Timeout for the metrics of all processes, in ms. */
const ALL_METRICS_TIMEOUT_MS = 5000;

/** Returns the connection to the primary process. Undefined in the primary process itself. */
export function connectToPrimary(clock: Clock): PrimaryLink | undefined {
  return cluster.isWorker ? new PrimaryLink(clock) : undefined;
}

/** The connection of a process of a gateway to the primary process, which has started it. When that ends, Node.js ends this one. */
class PrimaryLink {
  /** Resolves when the primary process asks this one to drain and exit, to the signal that the primary process got. */
  readonly stopped: Promise<NodeJS.Signals>;
  readonly #clock: Clock;
  readonly #requests = new Map<number, (text: string) => void>();
  #lastRequest = 0;
  #readMetrics: () => Promise<MetricsSnapshot> = async () => [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.stopped = new Promise((resolve) => {
      process.on('message', (message: MessageToProcess) => this.#receive(message, resolve));
    });
  }

  /** Whether this is the first process, which reports what concerns all of them. */
  get isFirst(): boolean {
    return cluster.worker?.id === 1;
  }

  /** Reports that this process accepts requests, and how its metrics are read. */
  reportListening(url: string, readMetrics: () => Promise<MetricsSnapshot>): void {
    this.#readMetrics = readMetrics;
    sendToPrimary({ kind: 'listening', url });
  }

  /** Returns the metrics of all processes in the format of Prometheus. Rejects if the primary process does not respond. */
  renderMetrics(): Promise<string> {
    const request = ++this.#lastRequest;
    return new Promise<string>((resolve, reject) => {
      const cancelTimeout = this.#clock.schedule(ALL_METRICS_TIMEOUT_MS, () => {
        this.#requests.delete(request);
        reject(new AnyserveError('unavailable', 'the primary process does not respond'));
      });
      this.#requests.set(request, (text) => {
        cancelTimeout();
        resolve(text);
      });
      sendToPrimary({ kind: 'read-all-metrics', request });
    });
  }

  #receive(message: MessageToProcess, stop: (signal: NodeJS.Signals) => void): void {
    switch (message.kind) {
      case 'read-metrics':
        void this.#readMetrics().then((snapshot) =>
          sendToPrimary({ kind: 'metrics', request: message.request, snapshot }),
        );
        break;
      case 'all-metrics':
        this.#requests.get(message.request)?.(message.text);
        this.#requests.delete(message.request);
        break;
      case 'stop':
        stop(message.signal);
        break;
      default:
        message satisfies never;
    }
  }
}
