import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';

const SDK = new URL('../support/tracing-sdk.mjs', import.meta.url);
const env = { NODE_OPTIONS: `--import ${SDK}` };

let endpoint: string;

beforeAll(async () => {
  const args = ['--backend', 'echo', '--cap', 'model=m', '--no-register', '--port', '0'];
  endpoint = await start(['worker', ...args]).waitForOutput(/serving on (\S+)/);
});

afterAll(stopAll);

describe('with an SDK of OpenTelemetry', () => {
  it('infer makes spans of its call and attempt', async () => {
    const { code, stderr } = await run(['infer', 'm', 'Hello', '--endpoint', endpoint], { env });
    expect(code).toBe(0);
    expect(stderr).toBe('span inference.GRPCInferenceService in another\nspan call\n');
  });

  it('chat makes spans of each turn', async () => {
    const { code, stderr } = await run(['chat', 'm', '--endpoint', endpoint], { env, input: 'Hello\nAgain\n' });
    expect(code).toBe(0);
    expect(stderr.match(/^span call$/gm)).toHaveLength(2);
  });
});
