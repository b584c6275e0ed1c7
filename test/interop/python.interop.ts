import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client, tensorToTexts } from '../../src/index.js';
import { run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';
import { getInteropPath, PYTHON } from './python.js';

const stubs = mkdtempSync(join(tmpdir(), 'anyserve-stubs-'));
const env = { ...process.env, PYTHONPATH: stubs };
const children: ChildProcess[] = [];

beforeAll(() => {
  const proto = getInteropPath('../../proto');
  execFileSync(PYTHON, [
    '-m',
    'grpc_tools.protoc',
    `-I${proto}`,
    `--python_out=${stubs}`,
    `--grpc_python_out=${stubs}`,
    `${proto}/open_inference.proto`,
  ]);
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await stopAll();
});

function startPython(script: string, ...args: string[]) {
  const child = spawn(PYTHON, [getInteropPath(script), ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  children.push(child);
  let output = '';
  const keep = (chunk: string): void => {
    output += chunk;
  };
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, output: () => output, ended };
}

describe('clients of other implementations', () => {
  it('can discover replicas, make calls, check health and use reflection', async () => {
    const api = start(['serve', '--port', '0']);
    const server = await api.waitForOutput(/listening on (\S+)/);
    const worker = start(['worker', '--backend', 'echo', '--port', '0', '--server', server]);
    await worker.waitForOutput(/^registered/m);
    const clients = [
      startPython('clients.py', server),
      startPython('triton_client.py', await worker.waitForOutput(/^serving on (\S+)/m)),
    ];
    for (const client of clients) expect([await client.ended, client.output().slice(-500)]).toEqual([0, 'all held\n']);
  });
});

describe('an inference server of another implementation', () => {
  it('can be called with each datatype without loss of precision if it returns raw contents', async () => {
    const server = startPython('oip_server.py');
    await until('it is listening', () => server.output().includes('listening'));
    const endpoint = /listening on (\S+)/.exec(server.output())?.[1] ?? '';
    const at = ['--endpoint', endpoint];
    const inputs = [
      'BOOL=[true,false]',
      'INT8=[-128,127]',
      'INT16=[-32768,32767]',
      'INT32=[-2147483648,2147483647]',
      'INT64=[-9223372036854775808,9007199254740993]',
      'UINT8=[0,255]',
      'UINT16=[0,65535]',
      'UINT32=[0,4294967295]',
      'UINT64=[0,18446744073709551615]',
      'FP32=[1.5,-0.25]',
      'FP64=[0.1,1e+300]',
      'BYTES=["","Grüße"]',
    ];
    const args = inputs.flatMap((input) => ['--input', input.replace(/^(\w+)=/, '$1:$1=')]);
    for (const form of [[], ['--raw']]) {
      const { code, stdout } = await run(['infer', 'echo', ...args, '--json', ...at, ...form]);
      expect(code).toBe(0);
      const { outputs } = JSON.parse(stdout.replace(/-?\d{16,}/g, '"$&"')) as {
        outputs: { name: string; data: unknown[] }[];
      };
      const shown = outputs.map(({ name, data }) => `${name}=${JSON.stringify(data).replace(/"(-?\d{16,})"/g, '$1')}`);
      expect(shown).toEqual(inputs);
    }
    const halfs = await run([
      'infer',
      'echo',
      '--input',
      'x:FP16=[0.5,65504]',
      '--input',
      'y:BF16=[1.5,-2]',
      '--json',
      ...at,
    ]);
    expect(halfs.stdout).toContain('"data":[0.5,65504]');
    expect(halfs.stdout).toContain('"data":[1.5,-2]');

    // Plain numbers are converted to the datatypes that the model declares.
    const declared = await run([
      'infer',
      'numbers',
      '--input',
      'd=[1,2]',
      '--input',
      'u=[7]',
      '--input',
      'n=[9007199254740993]',
      ...at,
    ]);
    expect(declared.stdout).toBe(
      'OUTPUT   DATATYPE   DATA\nd        FP64[2]    1, 2\nu        UINT8[1]   7\nn        INT64[1]   9007199254740993\n',
    );
    const streamed = await run(['infer', 'echo', '--prompt', 'a', '--stream', ...at]);
    expect(streamed).toEqual({ code: 0, stdout: 'aaa\n', stderr: '' });
  });

  it('receives plain values in the declared form if it refuses undeclared datatypes and shapes', async () => {
    const server = startPython('oip_server.py');
    await until('it is listening', () => server.output().includes('listening'));
    const at = ['--endpoint', /listening on (\S+)/.exec(server.output())?.[1] ?? ''];
    const infer = (...args: string[]) => run(['infer', 'batched', ...args, ...at]);
    const scale = ['--input', 'scale=2'];
    const plain = await infer('--input', 'x=[1,2,3]', '--input', 'prompt="Hi"', ...scale);
    expect(plain.stdout).toBe(
      'OUTPUT   DATATYPE     DATA\nx        FP32[1,3]    1, 2, 3\nprompt   BYTES[1,1]   "Hi"\nscale    FP64[1,1]    2\n',
    );
    const batch = await infer('--prompt', 'Hi', '--input', 'x=[1,2,3,4,5,6]', ...scale);
    expect(batch.stdout).toContain('x        FP32[2,3]    1, 2, 3, 4, 5, 6\n');
    expect(await infer('--prompt', 'Hi', '--input', 'x=[1,2]', ...scale)).toEqual({
      code: 2,
      stdout: '',
      stderr: 'anyserve: input "x": the model declares FP32[-1,3], got a list of 2\n',
    });
    const exact = await infer('--prompt', 'Hi', '--input', 'x:FP32=[1,2,3]', ...scale);
    expect([exact.code, exact.stderr]).toEqual([
      5,
      expect.stringContaining("unexpected input 'x': expected FP32[-1, 3], got FP32[3]"),
    ]);
    const missing = await infer('--prompt', 'Hi');
    expect([missing.code, missing.stderr]).toEqual([5, expect.stringContaining("got ['prompt']")]);
    const stray = await infer('--input', 'y=1');
    expect([stray.code, stray.stderr]).toEqual([
      2,
      'anyserve: model "batched" has no input "y"; its inputs: "x", "prompt", "scale"\n',
    ]);
  });
});

/** Starts an API server with only the interface of the Python server. */
async function startPythonServer() {
  const port = await findFreePort();
  const api = startPython('api_server.py', String(port));
  const url = `http://127.0.0.1:${port}`;
  const isResponding = (): Promise<boolean> =>
    fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until(`it responds; so far ${api.output()}`, isResponding);
  return { url, stop: () => api.child.kill('SIGKILL') };
}

describe('the Python server', () => {
  it('works beside an API server: replicas register with both, and a client goes on with either', async () => {
    const python = await startPythonServer();
    const served = start(['serve', '--port', '0']);
    const ours = await served.waitForOutput(/listening on (\S+)/);
    const workers = ['w1', 'w2'].map((id) =>
      start(
        ['worker', '--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--id', id].concat(
          ['--server', python.url],
          ['--server', ours],
        ),
      ),
    );
    for (const worker of workers) {
      await until('it is registered with both', () => worker.stdout().split('registered w').length === 3);
    }
    const client = new Client({ server: [python.url, ours], capability: { type: 'chat' } });
    const call = async (): Promise<string | undefined> => {
      const { outputs } = await client.infer('chat', { prompt: ['Hi'] }, { timeoutMs: 5000 });
      const [text] = Object.values(outputs);
      return text && tensorToTexts(text)[0];
    };
    try {
      expect(await call()).toBe('Hi');
      await served.stop('SIGKILL');
      expect(await call()).toBe('Hi');
      expect((await run(['route', 'type=chat', '--server', ours, '--server', python.url])).code).toBe(0);
      // The Python server can't be watched: its list is requested once a second.
      await workers[0]?.stop();
      await until('all calls go to the other replica', async () => {
        await call();
        return client.replicaId === 'w2';
      });
      for (let n = 0; n < 20; n++) {
        expect(await call()).toBe('Hi');
        expect(client.replicaId).toBe('w2');
      }
      python.stop();
      await until('the server is gone', () =>
        fetch(`${python.url}/health`).then(
          () => false,
          () => true,
        ),
      );
      for (let n = 0; n < 20; n++) expect(await call()).toBe('Hi');
    } finally {
      await client.close();
    }
  });

  it('works with each command that uses an API server', async () => {
    const { url: server } = await startPythonServer();
    const worker = start([
      'worker',
      '--backend',
      'echo',
      '--cap',
      'type=chat',
      '--port',
      '0',
      '--id',
      'w1',
      '--server',
      server,
    ]);
    await worker.waitForOutput(/^registered w1/m);
    const held = start([
      'register',
      '--id',
      'r1',
      '--endpoint',
      'localhost:1',
      '--cap',
      'model=qwen2',
      '--server',
      server,
    ]);
    await held.waitForOutput(/^registered r1/m);
    // It has no replica states, so the columns are empty.
    expect((await run(['registry', '--server', server])).stdout).toMatch(/^r1 +localhost:1 +- +- +- +model=qwen2$/m);
    expect((await run(['route', 'model=qwen2', '--json', '--server', server])).stdout).toBe(
      '{"endpoint":"localhost:1","replica_id":"r1"}\n',
    );
    expect((await run(['route', 'model=x', '--server', server])).code).toBe(3);
    expect(await run(['infer', 'chat', '--prompt', 'Hi', '--server', server])).toEqual({
      code: 0,
      stdout: 'Hi\n',
      stderr: '',
    });
    expect((await held.stop('SIGINT')).code).toBe(130);
    await until('r1 is removed', async () => (await run(['route', 'model=qwen2', '--server', server])).code === 3);
    expect((await worker.stop()).code).toBe(0);
  });
});
