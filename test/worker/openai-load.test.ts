import { expect, it } from 'vitest';
import type { ReplicaLoad } from '../../src/core/load.js';
import { startTestApiServer } from '../support/api-server.js';
import { ENGINE_METRICS } from '../support/engine-metrics.js';
import { ManualClock } from '../support/manual-clock.js';
import { startBackend, startUpstream } from '../support/openai-calls.js';
import { sendJson, type UpstreamHandler } from '../support/openai-upstream.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const sendMetrics =
  (getText: () => string): UpstreamHandler =>
  ({ path }, response) => {
    if (path !== '/metrics') return undefined;
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(getText());
    return true;
  };

/** Collects the loads of a backend. */
function watchLoads({ watchLoad }: Awaited<ReturnType<typeof startBackend>>): (ReplicaLoad | undefined)[] {
  const loads: (ReplicaLoad | undefined)[] = [];
  watchLoad?.((load) => loads.push(load));
  return loads;
}

it.each([
  ['vLLM', ENGINE_METRICS.vllm, 5, 1],
  ['SGLang', ENGINE_METRICS.sglang, 162, 2826],
  ['llama.cpp', ENGINE_METRICS.llamaCpp, 2, 7],
  ['TGI', ENGINE_METRICS.tgi, 8, 5],
])('the load of %s is read over HTTP', async (_engine, text, running, waiting) => {
  const upstream = await startUpstream(sendMetrics(() => text));
  const loads = watchLoads(await startBackend(upstream));
  await until('it is read', () => loads.length > 0);
  expect(loads[0]).toEqual({ running, waiting, limit: undefined });
});

it('metrics are requested next to /v1, with the key', async () => {
  const keys: (string | undefined)[] = [];
  const upstream = await startUpstream(({ path, authorization }, response) => {
    if (path !== '/metrics') return undefined;
    keys.push(authorization);
    sendJson(response, 501, { error: { message: 'start it with --metrics' } });
    return true;
  });
  const clock = new ManualClock();
  const backend = await startBackend(upstream, { key: 'the-key', clock });
  const loads = watchLoads(backend);
  await until('it is asked', () => keys.length === 1 && clock.pending().includes(60_000));
  clock.advance(60_000);
  await until('it is asked again', () => keys.length === 2);
  expect([keys, loads, backend.log.lines]).toEqual([['Bearer the-key', 'Bearer the-key'], [], []]);
});

it('metrics that are too long are no load', async () => {
  const upstream = await startUpstream(sendMetrics(() => `${'x'.repeat(5 * 1024 * 1024)}\n${ENGINE_METRICS.tgi}`));
  const clock = new ManualClock();
  const loads = watchLoads(await startBackend(upstream, { clock }));
  await until('it has given up', () => clock.pending().includes(10_000));
  expect(loads).toEqual([]);
});

it('metrics are not requested with probes off', async () => {
  const upstream = await startUpstream(sendMetrics(() => ENGINE_METRICS.tgi));
  const backend = await startBackend(upstream, { probePath: 'none' });
  watchLoads(backend);
  await new Promise(setImmediate);
  await backend.check?.(new AbortController().signal);
  expect(upstream.asked).not.toContain('GET /metrics');
});

it('a worker reports the load of its engine to the API server', async () => {
  const server = await startTestApiServer();
  const upstream = await startUpstream(sendMetrics(() => ENGINE_METRICS.llamaCpp));
  const worker = await startTestWorker(await startBackend(upstream), { servers: [server.url], id: 'w1' });
  try {
    await until('the API server knows it', async () => {
      const response = await fetch(`${server.url}/replicas`);
      const { replicas } = (await response.json()) as { replicas: { load?: object }[] };
      return JSON.stringify(replicas[0]?.load) === '{"running":2,"waiting":7,"limit":64}';
    });
  } finally {
    await worker.stop();
    await server.close();
  }
});
