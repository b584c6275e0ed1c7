import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, run, start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';
import { type ModelServer, startMlserver } from './model-servers.js';

let mlserver: ModelServer;

beforeAll(async () => {
  mlserver = await startMlserver();
});

afterAll(stopAll);

const infer = (...args: string[]): Promise<Outcome> => run(['infer', ...args, '--endpoint', mlserver.grpc]);

describe('MLServer', () => {
  it('receives plain values with the datatypes its models declare, typed and raw', async () => {
    for (const form of [[], ['--raw']]) {
      const { code, stdout } = await infer('doubler', '--input', 'x=[1,2,3]', '--prompt', 'Grüße', ...form);
      expect([code, stdout]).toEqual([0, expect.stringMatching(/^doubled +FP32\[1,3\] +2, 4, 6$/m)]);
      expect(stdout).toMatch(/^prompt +BYTES\[1,1\] +"Grüße"$/m);
    }
  });

  it('reports its failures with its own messages', async () => {
    const failed = await infer('doubler', '--input', 'x=[1,-2,3]');
    expect(failed).toEqual({ code: 5, stdout: '', stderr: `anyserve: ${mlserver.grpc}: x must not be negative\n` });
    const unknown = await infer('nobody', '--prompt', 'Hi');
    expect([unknown.code, unknown.stderr]).toEqual([5, expect.stringContaining('Model nobody')]);
  });

  it('streams responses without the stream wrapper, up to a failure', async () => {
    const streamed = await infer('words', '--prompt', 'one two three', '--stream');
    expect(streamed).toEqual({ code: 0, stdout: 'one two three \n', stderr: '' });
    const failed = await infer('words', '--prompt', 'one fail', '--stream');
    expect(failed).toMatchObject({ code: 5, stdout: 'one \n', stderr: expect.stringContaining('the word is fail') });
  });

  it('is recognized when the endpoint is its HTTP port', async () => {
    const failed = await run(['infer', 'doubler', '--input', 'x=[1,2,3]', '--endpoint', mlserver.http]);
    expect(failed).toMatchObject({ code: 5, stdout: '', stderr: expect.stringContaining('is this its HTTP port?') });
  });

  it('is registered while it is ready, and is found by its capabilities', async () => {
    const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (\S+)/);
    const at = ['--endpoint', mlserver.grpc, '--probe', 'grpc', '--server', server];
    const registered = start(['register', '--id', 'mlserver', '--cap', 'model=doubler', ...at]);
    await registered.waitForOutput(/^registered mlserver/m);
    const found = await run(['infer', 'doubler', '--input', 'x=[1,2,3]', '--server', server]);
    expect(found).toMatchObject({ code: 0, stdout: expect.stringContaining('2, 4, 6') });
    // Last: stops the server, which must no longer be routed to.
    await mlserver.running.stop();
    const isGone = async (): Promise<boolean> => (await run(['route', 'model=doubler', '--server', server])).code === 3;
    await until('it is no longer routed to', isGone);
    await registered.stop();
  });
});
