import { describe, expect, it } from 'vitest';
import { parseEngineMetrics } from '../../../src/client/engine/engine-metrics.js';
import { MAX_LOAD, type ReplicaLoad } from '../../../src/core/load.js';
import { ENGINE_METRICS } from '../../support/engine-metrics.js';

const RUNNING = 'vllm:num_requests_running';
const WAITING = 'vllm:num_requests_waiting 1\n';

const parseLoad = (text: string): ReplicaLoad | undefined => parseEngineMetrics(text)?.load;

describe('the load in metrics', () => {
  it.each([
    ['vLLM, the sum of its engines', ENGINE_METRICS.vllm, 5, 1],
    ['SGLang', ENGINE_METRICS.sglang, 162, 2826],
    ['llama.cpp', ENGINE_METRICS.llamaCpp, 2, 7],
    ['TGI', ENGINE_METRICS.tgi, 8, 5],
    ['SGLang behind its router', ENGINE_METRICS.sglang.replaceAll('sglang:', 'sglang_'), 162, 2826],
  ])('is read: %s', (_engine, text, running, waiting) => {
    expect(parseLoad(text)).toEqual({ running, waiting, limit: undefined });
    expect(parseLoad(text.replaceAll('\n', '\r\n'))).toEqual({ running, waiting, limit: undefined });
    expect(parseLoad(text.trimEnd())).toEqual({ running, waiting, limit: undefined });
  });

  it('of SGLang does not count the series of a priority beside their total', () => {
    const text = `sglang:num_running_reqs{priority="",tp_rank="0"} 5
sglang:num_running_reqs{priority="0",tp_rank="0"} 2
sglang:num_running_reqs{tp_rank="0",priority="7"} 3
sglang:num_queue_reqs{priority="",tp_rank="0"} 1
sglang:num_queue_reqs{priority="7",tp_rank="0"} 1
`;
    expect(parseLoad(text)).toEqual({ running: 5, waiting: 1, limit: undefined });
  });

  it.each<[string, number | undefined]>([
    [`${RUNNING} 3`, 3],
    [`${RUNNING}\t3`, 3],
    [`${RUNNING}{} 3 1395066363000`, 3],
    [`${RUNNING}{model_name="a } b \\" { c"} 3`, 3],
    [`${RUNNING}{m="a"} 3e2`, 300],
    [`${RUNNING}{m="a"} 2.9999999`, 3],
    [`${RUNNING}{m="a"} NaN\n${RUNNING}{m="b"} 4`, 4],
    [`${RUNNING}{m="a"} -1`, undefined],
    [`${RUNNING}{m="a"} +Inf`, undefined],
    [`${RUNNING}{m="a"} `, undefined],
    [`${RUNNING}{m="a"`, undefined],
    [`${RUNNING}_total 3`, undefined],
    [`my_${RUNNING} 3`, undefined],
    [`# HELP ${RUNNING} 3`, undefined],
    [`${RUNNING} ${MAX_LOAD + 1}`, undefined],
    ['', undefined],
  ])('with a line %j is %s', (line, running) => {
    expect(parseLoad(`${WAITING}${line}\n`)?.running).toBe(running);
  });

  it.each([
    ['vLLM', ENGINE_METRICS.vllm, 1_263_648],
    ['SGLang', ENGINE_METRICS.sglang, 7_557_572],
    ['llama.cpp', ENGINE_METRICS.llamaCpp, 39_080],
    ['TGI', ENGINE_METRICS.tgi, 906],
  ])('comes with counters of the engine’s work: %s', (_engine, text, work) => {
    expect(parseEngineMetrics(text)?.work).toBe(work);
  });

  it('needs both numbers of one engine', () => {
    expect(parseLoad(`${RUNNING} 1\ntgi_queue_size 2\n`)).toBeUndefined();
  });

  it('takes time in proportion to the length of the text', () => {
    const parseMs = (lines: number): number => {
      const text = `${RUNNING}{m="${'}'.repeat(40)}"} 1\n`.repeat(lines) + 'x'.repeat(100 * lines) + WAITING;
      const startedAtMs = performance.now();
      for (let n = 0; n < 5; n++) parseLoad(text);
      return performance.now() - startedAtMs;
    };
    parseMs(1000);
    expect(parseMs(20_000)).toBeLessThan(20 * 10 * Math.max(1, parseMs(1000)));
  });
});
