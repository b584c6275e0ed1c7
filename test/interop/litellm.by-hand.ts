import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { run, start, startProgram, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';
import { getInteropPath } from './python.js';

const PYTHON = process.env['ANYSERVE_TEST_LITELLM'] ?? 'python3';

afterAll(stopAll);

it('LiteLLM behind a worker responds to chats, and probes never make it generate', { timeout: 180_000 }, async () => {
  const port = await findFreePort();
  const place = ['--host', '127.0.0.1', '--port', String(port), '--telemetry', 'False'];
  const litellm = startProgram(
    [join(dirname(PYTHON), 'litellm'), '--config', getInteropPath('litellm.yaml'), ...place],
    {
      env: { LITELLM_LOCAL_MODEL_COST_MAP: 'True' },
    },
  );
  const url = `http://127.0.0.1:${port}`;
  const printed = (): string => `${litellm.stdout()}${litellm.stderr()}`;
  const isUp = async (): Promise<boolean> =>
    (await fetch(`${url}/health/liveliness`).catch(() => undefined))?.ok === true;
  await until(() => `LiteLLM is up; so far: ${printed().slice(-3000)}`, isUp, 120_000);

  const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (\S+)/);
  await start(['worker', '--openai', `${url}/v1`, '--id', 'w1', '--port', '0', '--server', server]).waitForOutput(
    /^registered w1/m,
  );
  expect(await run(['infer', 'chat', '--prompt', 'Hi', '--stream', '--server', server])).toEqual({
    code: 0,
    stdout: 'one two three\n',
    stderr: '',
  });
  const whole = await run(['infer', 'mock', '--prompt', 'Hi', '--no-stream', '--server', server]);
  expect(whole).toEqual({ code: 0, stdout: 'one two three\n', stderr: '' });

  // Waits for several probes, which are sent every 3 s.
  const probes = (): number => printed().split('GET /v1/models').length;
  const before = probes();
  await until('it is probed again', () => probes() >= before + 3, 20_000);
  expect(printed().split('POST /v1/chat/completions')).toHaveLength(3);
  expect(printed()).not.toContain('GET /health ');
});
