import { expect, it } from 'vitest';
import { WorkerMetrics } from '../../src/telemetry/worker-metrics.js';

/** Returns the samples of a family whose names don't end with `_bucket`. */
async function listSamples(metrics: WorkerMetrics, family: string): Promise<string[]> {
  const lines = (await metrics.render()).split('\n');
  return lines.filter((line) => line.startsWith(family) && !line.includes('_bucket'));
}

it('a request counts as waiting, then as running, and its time is that of both', async () => {
  let nowMs = 0;
  const metrics = new WorkerMetrics({ clock: { nowMs: () => nowMs }, version: '1' });
  const request = metrics.measureRequest('chat', 'm', true);
  expect(await listSamples(metrics, 'anyserve_requests_')).toEqual([
    'anyserve_requests_running{model="m"} 0',
    'anyserve_requests_waiting{model="m"} 1',
  ]);
  nowMs = 1000;
  request.start();
  expect(await listSamples(metrics, 'anyserve_requests_')).toEqual([
    'anyserve_requests_running{model="m"} 1',
    'anyserve_requests_waiting{model="m"} 0',
  ]);
  nowMs = 1500;
  request.recordResponse();
  nowMs = 4000;
  request.recordResponse();
  request.end();
  const labels = 'gen_ai_operation_name="chat",gen_ai_request_model="m"';
  expect(await listSamples(metrics, 'gen_ai_server_')).toEqual([
    `gen_ai_server_request_duration_seconds_sum{${labels},http_response_status_class="2xx"} 4`,
    `gen_ai_server_request_duration_seconds_count{${labels},http_response_status_class="2xx"} 1`,
    `gen_ai_server_time_to_first_token_seconds_sum{${labels}} 1.5`,
    `gen_ai_server_time_to_first_token_seconds_count{${labels}} 1`,
  ]);
  expect(await listSamples(metrics, 'anyserve_requests_running')).toEqual(['anyserve_requests_running{model="m"} 0']);
});

it('a request that fails while it waits counts by the status of its error, and waits no longer', async () => {
  const metrics = new WorkerMetrics({ clock: { nowMs: () => 0 }, version: '1' });
  metrics.measureRequest('infer', 'm', false).end('resource_exhausted');
  metrics.measureRequest('infer', 'm', false).end('internal');
  expect((await listSamples(metrics, 'gen_ai_server_request_duration_seconds_count')).map(readClass)).toEqual([
    '4xx',
    '5xx',
  ]);
  expect(await listSamples(metrics, 'anyserve_requests_waiting')).toEqual(['anyserve_requests_waiting{model="m"} 0']);
});

it('a served model is listed before its first request, and until it is no longer served', async () => {
  const metrics = new WorkerMetrics({ clock: { nowMs: () => 0 }, version: '1' });
  metrics.setModels(['a', 'b']);
  const request = metrics.measureRequest('chat', 'a', true);
  const readWaiting = (): Promise<string[]> => listSamples(metrics, 'anyserve_requests_waiting');
  expect(await readWaiting()).toEqual([
    'anyserve_requests_waiting{model="a"} 1',
    'anyserve_requests_waiting{model="b"} 0',
  ]);
  metrics.setModels(['c']);
  expect(await readWaiting()).toEqual([
    'anyserve_requests_waiting{model="a"} 1',
    'anyserve_requests_waiting{model="c"} 0',
  ]);
  request.end();
  metrics.setModels(['c']);
  expect(await readWaiting()).toEqual(['anyserve_requests_waiting{model="c"} 0']);
});

function readClass(sample: string): string | undefined {
  return /http_response_status_class="(\w+)"/.exec(sample)?.[1];
}
