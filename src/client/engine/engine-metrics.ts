import { type ReplicaLoad, toLoad } from '../../core/load.js';

/** The names of an engine's metrics for its load. Several names are those of different versions. */
interface LoadMetricNames {
  /** Requests that run. */
  readonly running: readonly string[];
  /** Requests that wait in the engine's queue. */
  readonly waiting: readonly string[];
  /** Matches the labels of a series that is a part of another one. */
  readonly partLabels?: RegExp;
}

/**
 * The metrics of each engine. Sources: the documentation of each engine, and the model server protocol of the Gateway API
 * Inference Extension.
 */
const LOAD_METRICS: readonly LoadMetricNames[] = [
  // vLLM: a series for each engine of a data-parallel server.
  { running: ['vllm:num_requests_running'], waiting: ['vllm:num_requests_waiting'] },
  // SGLang, with --enable-metrics. Its router writes `_` for `:`. With priority scheduling, the series with `priority=""` is
  // the total of the others.
  {
    running: ['sglang:num_running_reqs', 'sglang_num_running_reqs'],
    waiting: ['sglang:num_queue_reqs', 'sglang_num_queue_reqs'],
    partLabels: /[{,]\s*priority="[^"]/,
  },
  // llama.cpp's server, with --metrics.
  { running: ['llamacpp:requests_processing'], waiting: ['llamacpp:requests_deferred'] },
  // TGI
  { running: ['tgi_batch_current_size'], waiting: ['tgi_queue_size'] },
];

/**
 * Reads the load of an engine from its metrics in Prometheus' text format. Adds the series of a metric. Returns undefined if
 * no known engine has these metrics. Looks only at the lines with known names, because an engine can have thousands of others.
 */
export function parseEngineLoad(text: string): ReplicaLoad | undefined {
  for (const { running, waiting, partLabels } of LOAD_METRICS) {
    const load = toLoad({
      running: addSeries(text, running, partLabels),
      waiting: addSeries(text, waiting, partLabels),
    });
    if (load) return load;
  }
  return undefined;
}

/** Returns the sum of all series with one of the names. Returns undefined if there is none with a valid number. */
function addSeries(text: string, names: readonly string[], partLabels: RegExp | undefined): number | undefined {
  const values = names
    .flatMap((name) => listSamples(text, name))
    .filter((sample) => !partLabels?.test(sample))
    .map(parseSampleValue)
    .filter((value) => value >= 0 && Number.isFinite(value));
  return values.length === 0 ? undefined : Math.round(values.reduce((sum, value) => sum + value, 0));
}

/** Returns the lines with samples of a metric, without its name: `{engine="0"} 2.0` or ` 2.0`. */
function listSamples(text: string, name: string): string[] {
  const samples: string[] = [];
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + name.length)) {
    if (at > 0 && text[at - 1] !== '\n') continue;
    const end = text.indexOf('\n', at);
    const sample = text.slice(at + name.length, end < 0 ? undefined : end);
    // A longer name begins in the same way, such as `vllm:num_requests_waiting_by_reason`.
    if (/^[{ \t]/.test(sample)) samples.push(sample);
  }
  return samples;
}

/** Returns the value of a sample, NaN if it has none. Labels can contain spaces and braces; a timestamp can follow the value. */
function parseSampleValue(sample: string): number {
  const [value = ''] = sample
    .slice(sample.lastIndexOf('}') + 1)
    .trim()
    .split(/\s+/, 1);
  return value === '' ? Number.NaN : Number(value);
}
