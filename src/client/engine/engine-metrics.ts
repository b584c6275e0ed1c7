import { type ReplicaLoad, toLoad } from '../../core/load.js';

/** The load of an engine, and a number that grows while the engine works on calls. */
export interface EngineMetrics {
  readonly load: ReplicaLoad;
  /** Undefined if the engine has no such number. */
  readonly work: number | undefined;
}

/** The names of an engine's metrics. Several names are those of different versions. */
interface MetricNames {
  /** Requests that run. */
  readonly running: readonly string[];
  /** Requests that wait in the engine's queue. */
  readonly waiting: readonly string[];
  /** Counters that grow during a call, such as that of its tokens. */
  readonly work: readonly string[];
  /** Matches the labels of a series that is a part of another one. */
  readonly partLabels?: RegExp;
}

/**
 * The metrics of each engine. Sources: the documentation of each engine, and the model server protocol of the Gateway API
 * Inference Extension.
 */
const METRICS: readonly MetricNames[] = [
  // vLLM: a series for each engine of a data-parallel server.
  {
    running: ['vllm:num_requests_running'],
    waiting: ['vllm:num_requests_waiting'],
    work: ['vllm:prompt_tokens_total', 'vllm:generation_tokens_total'],
  },
  // SGLang, with --enable-metrics. Its router writes `_` for `:`. With priority scheduling, the series with `priority=""` is
  // the total of the others.
  {
    running: ['sglang:num_running_reqs', 'sglang_num_running_reqs'],
    waiting: ['sglang:num_queue_reqs', 'sglang_num_queue_reqs'],
    work: ['sglang:realtime_tokens_total', 'sglang:generation_tokens_total', 'sglang_generation_tokens_total'],
    partLabels: /[{,]\s*priority="[^"]/,
  },
  // llama.cpp's server, with --metrics.
  {
    running: ['llamacpp:requests_processing'],
    waiting: ['llamacpp:requests_deferred'],
    work: ['llamacpp:n_decode_total', 'llamacpp:tokens_predicted_total'],
  },
  // TGI
  { running: ['tgi_batch_current_size'], waiting: ['tgi_queue_size'], work: ['tgi_batch_inference_count'] },
];

/**
 * Reads the metrics of an engine in Prometheus' text format. Adds the series of a metric. Returns undefined if the text has no
 * load of a known engine. Looks only at the lines with known names, because an engine can have thousands of others.
 */
export function parseEngineMetrics(text: string): EngineMetrics | undefined {
  for (const { running, waiting, work, partLabels } of METRICS) {
    const load = toLoad({
      running: addSeries(text, running, partLabels),
      waiting: addSeries(text, waiting, partLabels),
    });
    if (load) return { load, work: addSeries(text, work, undefined) };
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
