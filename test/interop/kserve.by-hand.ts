import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, run, start, startProgram, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { type ModelServer, waitUntilReady } from './model-servers.js';
import { getInteropPath } from './python.js';

let kserve: ModelServer;

beforeAll(async () => {
  const [httpPort, grpcPort] = [await findFreePort(), await findFreePort()];
  const python = process.env['ANYSERVE_TEST_KSERVE'] ?? 'python3';
  const running = startProgram([python, getInteropPath('kserve_server.py'), String(httpPort), String(grpcPort)]);
  kserve = await waitUntilReady(running, grpcPort, httpPort);
}, 120_000);

afterAll(stopAll);

const infer = (...args: string[]): Promise<Outcome> => run(['infer', ...args, '--endpoint', kserve.grpc]);

describe("KServe's server", { timeout: 60_000 }, () => {
  it('accepts typed and raw inputs', async () => {
    for (const form of [[], ['--raw']]) {
      expect(await infer('doubler', '--input', 'x:FP32[1,3]=[1,2,3]', ...form)).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^doubled +FP32\[1,3\] +2, 4, 6$/m),
      });
    }
  });

  it('reports its failures with its own messages', async () => {
    const failed = await infer('doubler', '--input', 'x:FP32[1,1]=[-1]');
    expect([failed.code, failed.stderr]).toEqual([5, expect.stringContaining('x must not be negative')]);
    const unknown = await infer('nobody', '--input', 'x:FP32[1,1]=[1]');
    expect([unknown.code, unknown.stderr]).toEqual([5, expect.stringContaining('nobody')]);
  });

  it('is registered while it is ready, and is found by its capabilities', async () => {
    const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (\S+)/);
    const at = ['--endpoint', kserve.grpc, '--probe', 'grpc', '--server', server];
    await start(['register', '--id', 'kserve', '--cap', 'model=doubler', ...at]).waitForOutput(/^registered kserve/m);
    const found = await run(['infer', 'doubler', '--input', 'x:FP32[1,3]=[1,2,3]', '--server', server]);
    expect(found).toMatchObject({ code: 0, stdout: expect.stringContaining('2, 4, 6') });
  });
});
