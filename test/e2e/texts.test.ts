import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { type Running, run, start, startAtTerminal, stopAll } from '../support/binary.js';
import { writeTextModel } from '../support/text-model.js';
import { until } from '../support/until.js';

let worker: Running;
let at: string[];

beforeAll(async () => {
  worker = start(['worker', writeTextModel(), '--port', '0', '--no-register']);
  at = ['--endpoint', await worker.waitForOutput(/^serving on (\S+)/m)];
});

afterAll(stopAll);

const runInfer = (args: readonly string[], input?: string | Buffer) =>
  run(['infer', 'chat', ...args, ...at], input === undefined ? {} : { input });

/** Waits until the model has received this as its last request. */
async function waitForRequest(what: string): Promise<void> {
  const getLastRequest = (): string => worker.stdout().trimEnd().split('\n').at(-1) ?? '';
  await until(`it is asked ${what}; the last: ${getLastRequest()}`, () => getLastRequest() === what);
}

describe('a text', () => {
  it('is printed with one newline at its end, streaming and unary', async () => {
    const whole = await runInfer(['--prompt', 'Hello']);
    expect(whole).toEqual({ code: 0, stdout: 'heard Hello\n', stderr: '' });
    await waitForRequest('whole: user Hello');
    const inParts = await runInfer(['--prompt', 'Hello', '--stream']);
    expect(inParts.stdout).toBe('heard Hello\n');
    await waitForRequest('in parts: user Hello');
    expect((await runInfer(['--prompt', 'line\n', '--stream'])).stdout).toBe('heard line\n');
    expect((await runInfer(['--prompt', '', '--stream'])).stdout).toBe('heard \n');
  });

  it('is printed without the other outputs', async () => {
    expect((await runInfer(['--prompt', 'parameters'])).stdout).toBe('{}\n');
    expect((await runInfer(['--prompt', 'parameters', '--stream'])).stdout).toBe('{}\n');
    expect((await runInfer(['--prompt', 'numbers'])).stdout).toBe(
      'OUTPUT   DATATYPE   DATA\nn        INT32[2]   1, 2\n',
    );
  });

  it.each([['unary'], ['streaming', '--stream']])(
    'is followed by the tool calls, one per line (%s)',
    async (_how, ...args) => {
      const { code, stdout, stderr } = await runInfer(['--prompt', 'tools', ...args]);
      expect([code, stdout, stderr]).toEqual([
        0,
        'tool call: get_weather {"city":"Paris"}\ntool call: get_time {}\n',
        '',
      ]);
    },
  );

  it.each([['streaming'], ['unary', '--no-stream']])(
    'is shown after the reasoning in a terminal, and without it in a pipe (%s)',
    async (_how, ...args) => {
      const shown = await startAtTerminal(['infer', 'chat', 'tools', ...args, ...at]).ended;
      const line = 'thinking: which tool?\r\n\r\ntool call: get_weather {"city":"Paris"}\r\ntool call: get_time {}\r\n';
      expect(shown.stdout).toContain(line);
      expect((await startAtTerminal(['infer', 'chat', 'think', ...args, ...at]).ended).stdout).toContain(
        ' see\r\n\r\nheard think\r\n',
      );
      expect((await runInfer(['--prompt', 'think', '--stream'])).stdout).toBe('heard think\n');
    },
  );

  it('is printed as JSON with the finish reason, the token counts and the replica', async () => {
    const { stdout } = await runInfer(['--prompt', 'Hello', '--json']);
    await waitForRequest('in parts: user Hello');
    expect(JSON.parse(stdout)).toEqual({
      model_name: 'chat',
      parameters: { finish_reason: 'stop', prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
      outputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['heard Hello'] }],
      text: 'heard Hello',
      finish_reason: 'stop',
      usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
      replica: { replica_id: null, endpoint: at[1] },
      latency_ms: { first_token: expect.any(Number), total: expect.any(Number) },
    });
    expect(stdout).toMatch(/"latency_ms":\{"first_token":\d+(\.\d)?,"total":\d+(\.\d)?\}\}\n$/);
    const whole = await runInfer(['--prompt', 'Hello', '--json', '--no-stream']);
    expect(JSON.parse(whole.stdout).text).toBe('heard Hello');
    await waitForRequest('whole: user Hello');
    const parts = (await runInfer(['--prompt', 'Hello', '--json', '--stream'])).stdout.trimEnd().split('\n');
    expect(parts.map((part) => JSON.parse(part).outputs[0].data)).toEqual([['heard '], ['Hello'], ['']]);
  });

  it('uses stdin as the prompt when no input is given', async () => {
    expect((await runInfer([], 'Hi')).stdout).toBe('heard Hi\n');
    expect((await runInfer(['--prompt', 'Ho'], 'Hi')).stdout).toBe('heard Ho\n');
    expect((await runInfer([], '')).code).toBe(5);
  });

  it('is requested with messages when there is a system prompt', async () => {
    await runInfer(['--system', 'Be brief.', '--prompt', 'Hello']);
    await waitForRequest('whole: system Be brief., user Hello');
    await runInfer(['--system', 'Be brief.'], 'Hi');
    await waitForRequest('whole: system Be brief., user Hi');
  });

  it('is requested with the given messages unchanged', async () => {
    await runInfer(['--input', 'messages=[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello"}]']);
    await waitForRequest('whole: system Be brief., user Hello');
    await runInfer(['--inputs', '-'], '{"messages":[{"role":"user","content":"Hi"}]}');
    await waitForRequest('whole: user Hi');
  });

  it('is generated with the given options', async () => {
    const options = ['--max-tokens', '7', '--temperature', '1', '--top-p', '0.5', '--seed', '3', '--stop', 'END'];
    const parameters = await runInfer(['--prompt', 'parameters', ...options, '--param', 'min_p=0.1']);
    expect(JSON.parse(parameters.stdout)).toEqual({
      max_tokens: 7,
      temperature: 1,
      top_p: 0.5,
      seed: 3,
      stop: 'END',
      min_p: 0.1,
    });
    const stops = await runInfer(['--prompt', 'parameters', '--stop', 'a', '--stop', 'b']);
    expect(stops.stdout).toBe('{"stop":"[\\"a\\",\\"b\\"]"}\n');
  });

  it.each([
    [['--system', 'x'], '--system needs a prompt; give one after the model'],
    [['--system', 'x', '--prompt', 'x', '--input', 'messages="x"'], 'input "messages" is given twice'],
    [['--prompt', 'x', '--max-tokens', '1.5'], '--max-tokens "1.5": give a whole number from 1 to'],
    [['--prompt', 'x', '--temperature', 'hot'], '--temperature "hot": give a number like 0.7'],
    [['--prompt', 'x', '--top-p', ''], '--top-p needs a value'],
    [['--prompt', 'x', '--seed', '-1'], '--seed "-1": give a whole number from 0 to'],
    [['--prompt', 'x', '--seed', '1', '--param', 'seed=1'], 'parameter seed is given twice: --seed also sets it'],
    [['--prompt', 'x', '--stream', '--no-stream'], '--stream and --no-stream exclude each other; give one of them'],
  ])('is not requested with %j', async (args, words) => {
    const { code, stdout, stderr } = await runInfer(args);
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^anyserve: .*\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('is refused before the command waits for stdin', async () => {
    const call = start(['infer', 'chat', '--seed', 'x', ...at]);
    expect(await call.ended).toMatchObject({ code: 2, stderr: expect.stringContaining('--seed "x"') });
  });

  it('ends on Ctrl-C, together with the call at the replica', async () => {
    const call = start(['infer', 'chat', '--prompt', 'forever', '--stream', ...at]);
    await call.waitForOutput(/heard /);
    expect(await call.stop('SIGINT')).toEqual({ code: 130, stdout: 'heard \n', stderr: 'anyserve: interrupted\n' });
    await worker.waitForOutput(/user forever\nthe caller is gone\n$/);
    const whole = start(['infer', 'chat', '--prompt', 'forever', '--no-stream', ...at]);
    await worker.waitForOutput(/whole: user forever\n$/);
    expect((await whole.stop('SIGINT')).code).toBe(130);
    await worker.waitForOutput(/whole: user forever\nthe caller is gone\n$/);
  });

  it('ends with a newline when it breaks off', async () => {
    const { code, stdout, stderr } = await runInfer(['--prompt', 'fail', '--stream']);
    expect([code, stdout]).toEqual([5, 'heard \n']);
    expect(stderr).toMatch(/^anyserve: .* failed: as requested \(after one message of the stream\)\n$/);
  });

  it('is printed as JSON with the failure when it breaks off', async () => {
    const { code, stdout } = await runInfer(['--prompt', 'fail', '--json']);
    expect(code).toBe(5);
    expect(JSON.parse(stdout)).toMatchObject({
      text: 'heard ',
      replica: { endpoint: at[1] },
      error: {
        code: 'internal',
        message: expect.stringContaining('failed: as requested (after one message of the stream)'),
      },
    });
  });

  it('times out at once with --timeout 0', async () => {
    const { code, stdout, stderr } = await runInfer(['--prompt', 'hello', '--timeout', '0']);
    expect({ code, stdout, stderr }).toEqual({
      code: 5,
      stdout: '',
      stderr: expect.stringMatching(/no response within 0ms/),
    });
  });
});

describe('a text in a terminal', () => {
  it('is streamed, and ends on Ctrl-C', async () => {
    const call = startAtTerminal(['infer', 'chat', '--prompt', 'forever', ...at]);
    await call.waitForOutput(/heard /);
    await waitForRequest('in parts: user forever');
    call.child.stdin?.write('\x03');
    expect(await call.ended).toMatchObject({
      code: 130,
      stdout: expect.stringMatching(/\r\nanyserve: interrupted\r\n$/),
    });
    await worker.waitForOutput(/the caller is gone\n$/);
  });

  it('is printed at once with --no-stream, with control characters escaped', async () => {
    const call = startAtTerminal(['infer', 'chat', '--prompt', 'red \x1b[31m\tand\nmore', '--no-stream', ...at]);
    expect(await call.ended).toMatchObject({ code: 0, stdout: 'heard red \\u001b[31m\tand\r\nmore\r\n' });
  });
});

describe('a replica that cannot stream', () => {
  it('returns its text in a unary call, unless --stream is given', async () => {
    const server = new Server();
    server.addService(INFERENCE_SERVICE as unknown as ServiceDefinition, {
      modelInfer: ((_call: unknown, respond: (error: null, message: object) => void) => {
        const outputs = [
          { name: 'text_output', datatype: 'BYTES', shape: [1n, 1n], parameters: new Map(), contents: undefined },
        ];
        const rawOutputContents = [Buffer.from('\x05\0\0\0Hello')];
        respond(null, { modelName: 'x', modelVersion: '', id: '', parameters: new Map(), outputs, rawOutputContents });
      }) as never,
    });
    const port = await new Promise<number>((resolve) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, bound) => resolve(bound)),
    );
    try {
      const call = (...args: string[]) =>
        run(['infer', 'x', '--prompt', 'Hi', '--endpoint', `127.0.0.1:${port}`, ...args]);
      expect(JSON.parse((await call('--json')).stdout)).toMatchObject({
        text: 'Hello',
        outputs: [{ name: 'text_output', shape: [1, 1] }],
      });
      expect((await call()).stdout).toBe('Hello\n');
      expect((await call('--stream')).code).toBe(5);
    } finally {
      server.forceShutdown();
    }
  });
});
