import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { sendJson, startOpenaiUpstream } from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const UPSTREAM = fileURLToPath(new URL('../support/openai-upstream-process.ts', import.meta.url));
const KEY = 'sk-not-for-anyone-to-see';

let server: string;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(stopAll);

/** Starts an upstream in a separate process, which prints its URL. */
async function startUpstreamProcess(port = 0): Promise<{ readonly url: string; kill(): void }> {
  const child = spawn(process.execPath, ['--import', 'tsx', UPSTREAM, String(port)]);
  cleanups.push(() => child.kill('SIGKILL'));
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    printed += chunk;
  });
  await until('the upstream listens', () => printed.endsWith('\n'));
  return { url: printed.trim(), kill: () => void child.kill('SIGKILL') };
}

function startWorker(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const running = start(['worker', '--port', '0', '--id', 'w1', '--server', server, ...args], { env });
  cleanups.push(() => running.stop('SIGKILL'));
  return running;
}

async function listReplicas(): Promise<readonly { replica_id: string; capabilities: unknown[] }[]> {
  return ((await (await fetch(`${server}/registry`)).json()) as { replicas: never[] }).replicas;
}

describe('a worker in front of an OpenAI-compatible server', () => {
  it('needs one command line, and is called like any other worker', async () => {
    const upstream = await startOpenaiUpstream({ models: ['tiny', 'nomic'] });
    cleanups.push(() => upstream.close());
    await startWorker(['--openai', upstream.url, '--embeddings', 'nomic', '--cap', 'gpu=h100']).waitForOutput(
      /^registered w1/m,
    );
    expect((await listReplicas())[0]?.capabilities).toEqual([
      { type: 'chat', model: 'tiny', gpu: 'h100' },
      { type: 'embed', model: 'nomic', gpu: 'h100' },
    ]);
    expect(await run(['infer', 'chat', '--server', server, '--prompt', 'one two', '--param', 'seed=7'])).toEqual({
      code: 0,
      stdout: 'one two\n',
      stderr: '',
    });
    expect(upstream.requests[0]?.body).toMatchObject({ model: 'tiny', seed: 7 });
    const { stdout } = await run(['infer', 'embed', '--server', server, '--input', 'input=["a","four"]']);
    expect(stdout).toContain('FP32[2,3]');
  });

  it('reads its key from a file or a variable, and never prints it', async () => {
    const upstream = await startOpenaiUpstream({
      handleRequest({ authorization }, response) {
        if (authorization === `Bearer ${KEY}` || authorization === 'Bearer of-the-file') return undefined;
        sendJson(response, 401, { error: { message: `not the key: ${authorization}` } });
        return true;
      },
    });
    cleanups.push(() => upstream.close());
    const file = join(mkdtempSync(join(tmpdir(), 'anyserve-')), 'key');
    writeFileSync(file, 'of-the-file\n');

    for (const [args, env] of [
      [['--openai-key-file', file], { ANYSERVE_OPENAI_KEY: 'not used' }],
      [[], { ANYSERVE_OPENAI_KEY: KEY, OPENAI_API_KEY: 'not used' }],
      [[], { OPENAI_API_KEY: KEY }],
    ] as const) {
      const running = startWorker(['--openai', upstream.url, ...args], env);
      await running.waitForOutput(/^registered w1/m);
      expect((await run(['infer', 'chat', '--server', server, '--prompt', 'hi'])).stdout).toBe('hi\n');
      expect(readFileSync(`/proc/${running.child.pid}/cmdline`, 'utf8')).not.toContain(KEY);
      const { stdout, stderr } = await running.stop();
      expect(stdout + stderr).not.toMatch(new RegExp(`${KEY}|of-the-file`));
    }
    const { code, stderr } = await startWorker(['--openai', upstream.url], { ANYSERVE_OPENAI_KEY: 'a-wrong-key' })
      .ended;
    expect(code).toBe(1);
    expect(stderr).toBe(
      `anyserve: ${upstream.url} returned HTTP 401: not the key: Bearer ***; give AnyServe the key in ANYSERVE_OPENAI_KEY or with --openai-key-file\n`,
    );
  });

  it('waits for the server, leaves the list while it is down, and registers again when it is back', async () => {
    const port = await findFreePort();
    const running = startWorker(['--openai', `http://127.0.0.1:${port}/v1`]);
    await until('it is waiting', () => running.stderr().includes('waiting for'));
    expect(running.stderr()).toContain(`waiting for http://127.0.0.1:${port}/v1: nothing listens there`);
    const first = await startUpstreamProcess(port);
    await running.waitForOutput(/^registered w1/m);
    first.kill();
    await until('it is no longer listed', async () => (await listReplicas()).length === 0);
    await startUpstreamProcess(port);
    await until('it is back in the list', async () => (await listReplicas()).length === 1);
    expect(running.stderr()).toContain(`not ready: http://127.0.0.1:${port}/v1: nothing listens there`);
  });

  it('ends a stream with a clear error within a second when the server is killed', async () => {
    const upstream = await startUpstreamProcess();
    await startWorker(['--openai', upstream.url]).waitForOutput(/^registered w1/m);
    const call = start(['infer', 'chat', '--server', server, '--prompt', 'hang', '--stream']);
    await call.waitForOutput(/begun/);
    upstream.kill();
    let ended = false;
    void call.ended.then(() => {
      ended = true;
    });
    await until('the call has ended', () => ended, 1000);
    const { code, stderr } = await call.ended;
    expect(code).toBe(5);
    expect(stderr).toMatch(
      /^anyserve: 127\.0\.0\.1:\d+: http:\S+: the connection was closed before the response was complete \(after one message of the stream\)\n$/,
    );
  });

  it('reports invalid options in one line', async () => {
    const cases: [string[], string][] = [
      [['--openai', 'localhost:8000'], '--openai: "localhost:8000" is not a base URL'],
      [['--model', 'x', '--backend', 'echo'], '--model requires --openai'],
      [
        ['--openai', 'http://127.0.0.1:1/v1', '--openai-key', KEY],
        'no option --openai-key; did you mean --openai-key-file?',
      ],
      [['--openai', 'http://127.0.0.1:1/v1', '--openai-key-file', '/nowhere'], 'cannot read /nowhere'],
      [['--openai', 'http://127.0.0.1:1/v1', '--openai-timeout', 'soon'], '--openai-timeout "soon"'],
      [
        ['--openai', 'http://127.0.0.1:1/v1', '--openai-timeout', '0'],
        '--openai-timeout "0": too short; give 1ms or more',
      ],
      [['--openai', 'http://127.0.0.1:1/v1', '--openai-idle-timeout', '0'], '--openai-idle-timeout "0": too short'],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await startWorker(args).ended;
      expect([code, stderr.split('\n').length]).toEqual([2, 2]);
      expect(stderr).toContain(message);
      expect(stderr).not.toContain(KEY);
    }
  });
});
