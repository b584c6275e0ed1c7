import type { Metric, MetricObjectWithValues, MetricValue, Registry } from 'prom-client';
import type { DurationHistogram, DurationSeries } from './duration-histogram.js';
import type { Sample } from './label-counts.js';
import { METRIC_FAMILIES, type MetricFamily, type MetricName, PROCESS_METRICS } from './metric-families.js';

/** A value in the form of prom-client. */
interface PromValue {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  readonly metricName?: string;
}

/** Content type of {@link MetricsPage.render}. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * The metrics of a process in the format of Prometheus. Values are counted in plain numbers, and read when the page is rendered.
 * prom-client formats them, and adds metrics of the process. It is loaded for the first page, so a process that nobody scrapes
 * doesn't pay for it.
 */
export class MetricsPage {
  readonly #families: { readonly name: string; readonly read: () => object }[] = [];
  #registry: Promise<Registry> | undefined;

  constructor(version: string) {
    this.add('anyserve_build_info', () => [[[version], 1]]);
  }

  /** Adds a family whose values are read for each page. `labels` replaces the names of its labels. */
  add(name: MetricName, read: () => Iterable<Sample>, labels: readonly string[] = METRIC_FAMILIES[name].labels): void {
    const toValue = ([values, value]: Sample): PromValue => ({ labels: toLabels(labels, values), value });
    this.#addFamily(name, () => [...read()].map(toValue));
  }

  addHistogram(name: MetricName, histogram: DurationHistogram): void {
    const { labels } = METRIC_FAMILIES[name];
    this.#addFamily(name, () =>
      [...histogram.listSeries()].flatMap((series) =>
        toHistogramValues(name, histogram.bounds, toLabels(labels, series.labels), series),
      ),
    );
  }

  /** Returns the metrics as text. */
  async render(): Promise<string> {
    return (await this.#loadRegistry()).metrics();
  }

  /** Returns the metrics as objects, which prom-client can add to those of other processes. */
  async read(): Promise<MetricObjectWithValues<MetricValue<string>>[]> {
    return (await this.#loadRegistry()).getMetricsAsJSON();
  }

  #loadRegistry(): Promise<Registry> {
    this.#registry ??= this.#createRegistry();
    return this.#registry;
  }

  #addFamily(name: MetricName, readValues: () => readonly PromValue[]): void {
    const { type, help }: MetricFamily = METRIC_FAMILIES[name];
    const aggregator = name === 'anyserve_build_info' ? 'first' : 'sum';
    this.#families.push({ name, read: () => ({ name, help, type, values: readValues(), aggregator }) });
  }

  async #createRegistry(): Promise<Registry> {
    const { Registry, collectDefaultMetrics } = await import('prom-client');
    const registry = new Registry();
    for (const { name, read } of this.#families) {
      registry.registerMetric({ name, get: async () => read() } as unknown as Metric);
    }
    const before = new Set(this.#families.map(({ name }) => name));
    collectDefaultMetrics({ register: registry });
    for (const { name } of registry.getMetricsAsArray()) {
      if (!before.has(name) && !PROCESS_METRICS.includes(name)) registry.removeSingleMetric(name);
    }
    return registry;
  }
}

function toLabels(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']));
}

/** Converts a series: each bucket counts the times up to its bound, so also those of the buckets before it. */
function toHistogramValues(
  name: string,
  bounds: readonly number[],
  labels: Readonly<Record<string, string>>,
  { counts, sumSeconds }: DurationSeries,
): PromValue[] {
  let total = 0;
  const buckets = counts.map((count, index) => {
    total += count;
    return { metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf', ...labels }, value: total };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sumSeconds },
    { metricName: `${name}_count`, labels, value: total },
  ];
}
