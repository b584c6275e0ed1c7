import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { start, stopAll } from '../support/binary.js';
import { getInteropPath } from './python.js';

const execute = promisify(execFile);

/** Folder of the programs that `.ci/interop` builds. */
const TOOLS = process.env['ANYSERVE_TEST_TOOLS'] ?? '';

let endpoint: string;

beforeAll(async () => {
  endpoint = await start(['worker', '--backend', 'echo', '--no-register', '--port', '0']).waitForOutput(
    /^serving on (\S+)/m,
  );
}, 30_000);

afterAll(stopAll);

describe('a worker', { timeout: 120_000 }, () => {
  it('can be described and called with grpcurl', async () => {
    const env = { ...process.env, GRPCURL: join(TOOLS, 'grpcurl') };
    expect((await execute('bash', [getInteropPath('grpcurl.sh')], { env })).stdout).toContain('all held');
  });

  it.each(['go-client', 'rust-client'])(
    'can be called by %s, a client generated from the proto file',
    async (program) => {
      const { stdout, stderr } = await execute(join(TOOLS, program), [endpoint]);
      expect(`${stdout}${stderr}`).toContain('all held');
    },
  );

  it('responds to all of 5,000 calls of ghz', async () => {
    const input = { name: 'x', datatype: 'FP32', shape: [2], contents: { fp32_contents: [1, 2] } };
    const call = ['--call', 'inference.GRPCInferenceService/ModelInfer', '-n', '5000', '-c', '50', '--insecure'];
    const data = JSON.stringify({ model_name: 'echo', inputs: [input] });
    const { stdout } = await execute(join(TOOLS, 'ghz'), [...call, '-O', 'json', '-d', data, endpoint]);
    const report = JSON.parse(stdout) as { count: number; statusCodeDistribution: Record<string, number> };
    expect(report).toMatchObject({ count: 5000, statusCodeDistribution: { OK: 5000 } });
  });
});
