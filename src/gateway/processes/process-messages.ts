import type { Worker } from 'node:cluster';
import type { MetricsSnapshot } from '../../telemetry/process-metrics.js';

/** A message of the primary process to a process of a gateway. */
export type MessageToProcess =
  /** Asks for the metrics of the process. */
  | { readonly kind: 'read-metrics'; readonly request: number }
  /** The metrics of all processes, in the format of Prometheus. */
  | { readonly kind: 'all-metrics'; readonly request: number; readonly text: string }
  /** Asks the process to drain and exit, as this signal does. */
  | { readonly kind: 'stop'; readonly signal: NodeJS.Signals };

/** A message of a process of a gateway to the primary process. */
export type MessageToPrimary =
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'metrics'; readonly request: number; readonly snapshot: MetricsSnapshot }
  /** Asks for the metrics of all processes. */
  | { readonly kind: 'read-all-metrics'; readonly request: number };

/** Sends a message to a process. Does nothing if it has ended. */
export function sendToProcess(worker: Worker, message: MessageToProcess): void {
  // The callback receives the error of a closed channel, which would be thrown otherwise.
  worker.process.send?.(message, undefined, undefined, () => {});
}

/** Sends a message to the primary process. Does nothing if it has ended. */
export function sendToPrimary(message: MessageToPrimary): void {
  process.send?.(message, undefined, undefined, () => {});
}
