import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from 'prom-client';

/** The metrics of a process, as prom-client's `getMetricsAsJSON` returns them. */
export type MetricsSnapshot = readonly MetricObjectWithValues<MetricValue<string>>[];

/** Metrics that only grow. Their values stay when the process that counted them has ended. */
const GROWING_TYPES: ReadonlySet<string> = new Set(['counter', 'histogram']);

/**
 * Adds up the metrics of the processes of a gateway. What an ended process had counted when its metrics were last read still counts:
 * if a total fell, Prometheus would take all of it for new events.
 */
export class ProcessMetrics<Process> {
  readonly #latest = new Map<Process, MetricsSnapshot>();
  #ended: MetricsSnapshot = [];

  /** Records the metrics of a process that runs. */
  record(process: Process, snapshot: MetricsSnapshot): void {
    this.#latest.set(process, snapshot);
  }

  /** Records that a process has ended. */
  recordEnd(process: Process): void {
    const last = this.#latest.get(process);
    this.#latest.delete(process);
    if (last) this.#ended = addUp([this.#ended, last.filter(({ type }) => GROWING_TYPES.has(String(type)))]);
  }

  /** Returns the metrics of all processes in the format of Prometheus. */
  render(): Promise<string> {
    return AggregatorRegistry.aggregate([...this.#latest.values(), this.#ended] as object[]).metrics();
  }
}

/** Adds up snapshots, each metric in the way that it declares itself. */
function addUp(snapshots: readonly MetricsSnapshot[]): MetricsSnapshot {
  const sums: unknown = AggregatorRegistry.aggregate(snapshots as unknown as object[]).getMetricsAsArray();
  return sums as MetricsSnapshot;
}
