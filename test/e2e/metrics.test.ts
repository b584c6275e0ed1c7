import { afterEach, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

afterEach(stopAll);

async function scrape(port: number | string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect(response.status).toBe(200);
  return response.text();
}

describe('--metrics-port', () => {
  it('of a worker serves the times of its calls and its load', async () => {
    const metricsPort = String(await findFreePort());
    const worker = start(
      [
        'worker',
        '--backend',
        'echo',
        '--cap',
        'model=m',
        '--no-register',
        '--port',
        '0',
        '--metrics-port',
        metricsPort,
      ],
      {},
    );
    const endpoint = await worker.waitForOutput(/serving on (\S+)/);
    expect(await scrape(metricsPort)).toMatch(/^anyserve_requests_running\{model="[^"]+"\} 0$/m);
    const call = await run(['infer', 'm', '--endpoint', endpoint, '--input', 'x:INT64[1]=[1]']);
    expect(call.stderr).toBe('');
    const text = await scrape(metricsPort);
    expect(text).toContain('rpc_server_call_duration_seconds_count{rpc_method="ModelInfer",rpc_status_code="OK"} 1');
    expect(text).toMatch(
      /gen_ai_server_request_duration_seconds_count\{gen_ai_operation_name="infer",.*http_response_status_class="2xx"\} 1/,
    );
    expect(text).toMatch(/anyserve_requests_running\{model="[^"]+"\} 0/);
    expect(text).toContain('anyserve_requests_waiting');
    expect((text.match(/^# TYPE/gm) ?? []).length).toBeLessThanOrEqual(25);
    expect((await fetch(`http://127.0.0.1:${metricsPort}/`)).status).toBe(404);
    expect((await worker.stop()).code).toBe(0);
  });

  it('of register serves the metrics of its process, and a taken port is an error', async () => {
    const serving = start(['serve', '--port', '0']);
    const url = await serving.waitForOutput(/listening on (http:\S+)/);
    const metricsPort = String(await findFreePort());
    const options = ['--endpoint', 'r1.test:1', '--cap', 'model=x', '--server', url, '--metrics-port', metricsPort];
    const registering = start(['register', '--id', 'r1', ...options]);
    await registering.waitForOutput(/registered r1/);
    expect(await scrape(metricsPort)).toContain('process_resident_memory_bytes');
    const other = await run(['register', '--id', 'r2', ...options]);
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('--metrics-port') });
    expect((await registering.stop()).code).toBe(0);
  });
});

it('serve --metrics-keys lists the models that nobody offers any more with 0', async () => {
  const serving = start(['serve', '--port', '0', '--metrics-keys', 'model']);
  const url = await serving.waitForOutput(/listening on (http:\S+)/);
  const registering = start(['register', '--id', 'r1', '--endpoint', 'r1.test:1', '--cap', 'model=x', '--server', url]);
  await registering.waitForOutput(/registered r1/);
  const { port } = new URL(url);
  await until('it is offered', async () => (await scrape(port)).includes('anyserve_offers{model="x"} 1'));
  await registering.stop();
  await until('it has left', async () => (await scrape(port)).includes('anyserve_offers{model="x"} 0'));
});
