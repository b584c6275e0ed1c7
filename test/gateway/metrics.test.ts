import { afterEach, describe, expect, it } from 'vitest';
import { CallerKeys } from '../../src/credentials/caller-keys.js';
import type { FinishedCall } from '../../src/telemetry/finished-call.js';
import { AttemptCounts, GatewayMetrics } from '../../src/telemetry/gateway-metrics.js';
import { startTestGateway } from '../support/gateway.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const USAGE = { prompt_tokens: 5, completion_tokens: 2 };

const CALL: FinishedCall = {
  caller: 'alice',
  path: '/chat/completions',
  model: 'm',
  replicaId: 'r1',
  status: 200,
  attempts: 2,
  durationMs: 12.345,
  firstByteMs: undefined,
  responseBytes: 10,
  usage: { input: 5, output: 2 },
  failure: undefined,
};

const CALLS = [
  { model: 'm', isWaiting: false },
  { model: 'm', isWaiting: false },
  { model: undefined, isWaiting: false },
  { model: 'm', isWaiting: true },
];

const attempts = new AttemptCounts();

const createMetrics = (isKnownModel = (name: string): boolean => name.startsWith('m')) =>
  new GatewayMetrics({ version: '1', isKnownModel, listCalls: () => CALLS, attempts, countEjections: () => 2 });

/** Returns the lines of a metric, without buckets. */
const readLines = async (metrics: GatewayMetrics, name: string): Promise<string[]> =>
  (await metrics.render()).split('\n').filter((line) => line.startsWith(name) && !line.includes('_bucket'));

describe('the metrics of a gateway', () => {
  it('count calls, times and tokens', async () => {
    const metrics = createMetrics();
    metrics.record(CALL);
    metrics.record({ ...CALL, caller: undefined, status: 503, usage: undefined, path: '/rerank' });
    metrics.record({ ...CALL, firstByteMs: 4 });
    expect(await readLines(metrics, 'gen_ai_server_request_duration_seconds_count')).toEqual([
      'gen_ai_server_request_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_request_model="m",http_response_status_class="2xx"} 2',
      'gen_ai_server_request_duration_seconds_count{gen_ai_operation_name="rerank",gen_ai_request_model="m",http_response_status_class="5xx"} 1',
    ]);
    expect(await readLines(metrics, 'gen_ai_server_time_to_first_token_seconds_sum')).toEqual([
      'gen_ai_server_time_to_first_token_seconds_sum{gen_ai_operation_name="chat",gen_ai_request_model="m"} 0.004',
    ]);
    const ended = {
      kind: 'attempt_ended',
      target: { endpoint: 'a', replicaId: undefined },
      attempt: 1,
      durationMs: 1,
    } as const;
    attempts.record({ ...ended, code: 'ok' });
    for (let n = 0; n < 2; n++) attempts.record({ ...ended, code: 'unavailable' });
    metrics.recordRefusal({ status: 401 });
    expect(await readLines(metrics, 'anyserve_')).toEqual([
      'anyserve_build_info{version="1"} 1',
      'anyserve_tokens_total{gen_ai_request_model="m",gen_ai_token_type="input",key="alice"} 10',
      'anyserve_tokens_total{gen_ai_request_model="m",gen_ai_token_type="output",key="alice"} 4',
      'anyserve_calls_total{http_response_status_class="2xx",key="alice"} 2',
      'anyserve_calls_total{http_response_status_class="5xx",key=""} 1',
      ...[400, 401, 403, 404, 405, 415, 417, 421, 501].map(
        (status) => `anyserve_requests_refused_total{http_response_status_code="${status}"} ${status === 401 ? 1 : 0}`,
      ),
      'anyserve_attempts_total{outcome="ok"} 1',
      'anyserve_attempts_total{outcome="unavailable"} 2',
      'anyserve_requests_waiting{model="m"} 1',
      'anyserve_requests_running{model="m"} 2',
      'anyserve_requests_running{model="other"} 1',
      'anyserve_ejections_total 2',
    ]);
  });

  it('have a bounded number of series, whatever models are asked for or come and go', async () => {
    const metrics = createMetrics();
    for (let n = 0; n < 2000; n++) {
      metrics.record({ ...CALL, model: `m${n}` });
      metrics.record({ ...CALL, model: `unknown${n}` });
    }
    metrics.record({ ...CALL, model: undefined });
    expect((await readLines(metrics, 'gen_ai_server_request_duration_seconds_count')).length).toBe(501);
  });

  it('are served beside the calls that they count', async () => {
    const { register, post, waitForModels, gateway, finished } = await startTestGateway();
    cleanups.push(() => gateway.close());
    const engine = await startHttpEngine(({ body }, response) => {
      if (!body.includes('stream')) return sendJson(response, { choices: [], usage: USAGE });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"n":1}\n\n');
      response.write(`data: {"usage":${JSON.stringify(USAGE)}}\n\n`);
      setTimeout(() => response.end('data: [DONE]\n\n'), 10);
    });
    cleanups.push(() => engine.close());
    await register('a', engine.url);
    await waitForModels('m');
    await (await post('/v1/chat/completions', { model: 'm' })).text();
    await (await post('/v1/chat/completions', { model: 'm', stream: true })).text();
    await post('/v1/chat/completions', { model: 'x'.repeat(300) });
    await until('the calls have ended', () => finished.length === 3);
    const response = await fetch(`${gateway.url}/metrics`);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
    const text = await response.text();
    expect(text).toContain('anyserve_tokens_total{gen_ai_request_model="m",gen_ai_token_type="input",key=""} 10');
    expect(text).toContain('gen_ai_server_time_to_first_token_seconds_count');
    expect(text).toContain('process_resident_memory_bytes');
    expect(text).not.toContain('xxx');
    expect(finished.map(({ usage }) => usage)).toEqual([{ input: 5, output: 2 }, { input: 5, output: 2 }, undefined]);
  });

  it('are not for callers that are restricted', async () => {
    const keys = new CallerKeys(['alice key-of-alice-1234567 steer', 'bob key-of-bob-1234567890'], 'keys');
    const { gateway } = await startTestGateway({ findCaller: keys.find.bind(keys) });
    cleanups.push(() => gateway.close());
    const statuses = await Promise.all(
      ['key-of-alice-1234567', 'key-of-bob-1234567890', 'other'].map(
        async (key) => (await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).status,
      ),
    );
    expect(statuses).toEqual([200, 403, 401]);
  });
});
