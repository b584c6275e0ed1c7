import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, run, start, stopAll } from '../support/binary.js';
import { assertHolds } from '../support/fleet.js';
import { until } from '../support/until.js';
import { type ModelServer, startTriton } from './model-servers.js';

let triton: ModelServer;

beforeAll(async () => {
  triton = await startTriton();
});

afterAll(stopAll);

const infer = (...args: string[]): Promise<Outcome> => run(['infer', ...args, '--endpoint', triton.grpc]);

describe('Triton', () => {
  it('receives plain values with the datatypes its models declare, typed and raw, and always responds raw', async () => {
    for (const form of [[], ['--raw']]) {
      expect(await infer('batched', '--input', 'x=[1,2,3]', '--prompt', 'Grüße', ...form)).toEqual({
        code: 0,
        stdout: 'OUTPUT    DATATYPE     DATA\ndoubled   FP32[1,3]    2, 4, 6\nprompt    BYTES[1,1]   "Grüße"\n',
        stderr: '',
      });
    }
    const batch = await infer('batched', '--input', 'x=[1,2,3,4,5,6]', '--output', 'doubled');
    expect(batch.stdout).toContain('doubled   FP32[2,3]   2, 4, 6, 8, 10, 12\n');
  });

  it('reports its failures with its own messages', async () => {
    const failed = await infer('batched', '--input', 'x=[1,-2,3]');
    expect(failed).toEqual({ code: 5, stdout: '', stderr: `anyserve: ${triton.grpc}: x must not be negative\n` });
    const unknown = await infer('nobody', '--prompt', 'Hi');
    expect([unknown.code, unknown.stderr]).toEqual([5, expect.stringContaining("unknown model: 'nobody'")]);
    const misshapen = await infer('batched', '--input', 'x:FP32=[1,2,3]');
    expect([misshapen.code, misshapen.stderr]).toEqual([5, expect.stringContaining('Expected [-1,3], got [3]')]);
  });

  it('gives no reason when its status text ends in a space, so the error shows the declared and the sent inputs', async () => {
    const failed = await infer('batched', '--input', 'x=[1001,2,3]');
    expect([failed.code, failed.stderr]).toEqual([5, expect.stringContaining('INTERNAL without a reason')]);
    expect(failed.stderr).toContain('declares x FP32[-1,3], prompt BYTES[-1,1]; sent: x FP32[1,3]\n');
  });

  it('is recognized when the endpoint is its HTTP port', async () => {
    const failed = await run(['infer', 'batched', '--input', 'x=[1,2,3]', '--endpoint', triton.http]);
    expect(failed).toMatchObject({ code: 5, stdout: '', stderr: expect.stringContaining('is this its HTTP port?') });
  });

  it('responds to a unary call with all messages of a decoupled model', async () => {
    const whole = await infer('counter', '--prompt', 'one two three', '--no-stream');
    expect(whole).toEqual({ code: 0, stdout: 'one two three \n', stderr: '' });
    const failed = await infer('counter', '--prompt', 'one fail', '--no-stream');
    expect(failed).toMatchObject({ code: 5, stdout: '', stderr: expect.stringContaining('the word is fail') });
  });

  it('streams the messages of a decoupled model, up to a failure', async () => {
    const streamed = await infer('counter', '--prompt', 'one two three', '--stream');
    expect(streamed).toEqual({ code: 0, stdout: 'one two three \n', stderr: '' });
    const messages = await infer('counter', '--prompt', 'one two', '--stream', '--json');
    const texts = messages.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).outputs[0]?.data);
    expect(texts).toEqual([['one '], ['two ']]);
    const failed = await infer('counter', '--prompt', 'one fail', '--stream');
    expect(failed).toMatchObject({ code: 5, stdout: 'one \n', stderr: expect.stringContaining('the word is fail') });
  });

  it('is registered while it is ready, and is found by its capabilities', async () => {
    const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (\S+)/);
    const offered = ['--cap', 'model=batched', '--cap', 'model=counter,type=chat'];
    const at = ['--endpoint', triton.grpc, '--probe', 'grpc', '--server', server];
    const registered = start(['register', '--id', 'triton', ...offered, ...at]);
    await registered.waitForOutput(/^registered triton/m);
    const found = await run(['infer', 'batched', '--input', 'x=[1,2,3]', '--server', server]);
    expect(found).toMatchObject({ code: 0, stdout: expect.stringContaining('2, 4, 6') });
    const one = ['--probe-model', 'batched', '--id', 'one', '--cap', 'model=one'];
    const probed = start(['register', ...one, ...at]);
    await probed.waitForOutput(/^registered one/m);
    const none = start(['register', '--probe-model', 'nobody', '--id', 'none', '--cap', 'model=none', ...at]);
    await assertHolds(
      'a model that does not exist is not registered',
      5000,
      () => !none.stdout().includes('registered'),
    );
    const chat = await run([
      'infer',
      'counter',
      '--cap',
      'type=chat',
      '--prompt',
      'Hi',
      '--stream',
      '--server',
      server,
    ]);
    expect(chat).toEqual({ code: 0, stdout: 'Hi \n', stderr: '' });
    const gateway = await start(['gateway', '--port', '0', '--server', server]).waitForOutput(/listening on (\S+)/);
    const complete = async (stream: boolean): Promise<string> => {
      const body = JSON.stringify({ model: 'counter', prompt: 'one two', stream });
      return (await fetch(`${gateway}/completions`, { method: 'POST', body })).text();
    };
    expect(JSON.parse(await complete(false)).choices[0]).toMatchObject({ text: 'one two ', finish_reason: 'stop' });
    const events = (await complete(true)).trim().split('\n\n');
    expect(events.pop()).toBe('data: [DONE]');
    const texts = events.map((event) => JSON.parse(event.replace('data: ', '')).choices[0].text);
    expect(texts).toEqual(['one ', 'two ', '']);
    // Last: stops the server, which must no longer be routed to.
    await triton.running.stop();
    const isGone = async (): Promise<boolean> => (await run(['route', 'model=batched', '--server', server])).code === 3;
    await until('it is no longer routed to', isGone);
    await registered.stop();
  });
});
