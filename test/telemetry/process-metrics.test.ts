import { expect, it } from 'vitest';
import { AttemptCounts, GatewayMetrics } from '../../src/telemetry/gateway-metrics.js';
import { ProcessMetrics } from '../../src/telemetry/process-metrics.js';

/** Creates the metrics of a process in which some calls run, and the given number has ended. */
function createProcess(ended: number, running = 0): GatewayMetrics {
  const metrics = new GatewayMetrics({
    version: '1.2.3',
    isKnownModel: () => true,
    listCalls: () => Array.from({ length: running }, () => ({ model: 'm', isWaiting: false })),
    attempts: new AttemptCounts(),
    countEjections: () => 0,
  });
  for (let count = 0; count < ended; count++) {
    const call = { path: '/chat/completions', model: 'm', status: 200, attempts: 1, durationMs: 5, responseBytes: 1 };
    metrics.record({
      ...call,
      caller: undefined,
      replicaId: undefined,
      firstByteMs: undefined,
      usage: undefined,
      failure: undefined,
    });
  }
  return metrics;
}

it('the metrics of processes are added up, and those of ended ones stay counted', async () => {
  const sums = new ProcessMetrics<string>();
  const readValue = async (pattern: RegExp): Promise<number> => Number(pattern.exec(await sums.render())?.[1]);
  const calls = /^anyserve_calls_total\S* (\d+)$/m;
  const durations = /^gen_ai_server_request_duration_seconds_bucket\{le="0.01",\S* (\d+)$/m;
  const running = /^anyserve_requests_running\S* (\d+)$/m;
  sums.record('a', await createProcess(2, 1).read());
  sums.record('b', await createProcess(3, 1).read());
  expect([await readValue(calls), await readValue(durations), await readValue(running)]).toEqual([5, 5, 2]);
  // The same process again replaces what it had sent.
  sums.record('a', await createProcess(4, 1).read());
  expect(await readValue(calls)).toBe(7);
  sums.recordEnd('a');
  expect([await readValue(calls), await readValue(durations), await readValue(running)]).toEqual([7, 7, 1]);
  sums.recordEnd('b');
  sums.recordEnd('never read');
  sums.record('c', await createProcess(1).read());
  expect([await readValue(calls), await readValue(durations), await readValue(running)]).toEqual([8, 8, 0]);
  expect(await readValue(/^anyserve_build_info\{version="1.2.3"\} (\d+)$/m)).toBe(1);
});
