import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { ENGINE_METRICS } from '../support/engine-metrics.js';
import { findFreePort } from '../support/free-port.js';
import { type OpenaiUpstream, startOpenaiUpstream } from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];
let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(stopAll);

interface ListedEngine {
  readonly endpoint: string;
  readonly capabilities: readonly object[];
  readonly state: string;
  readonly lease: string;
  readonly load?: object;
}

/** Returns the engine in the list of the API server. */
async function findEngine(): Promise<ListedEngine | undefined> {
  const response = await fetch(`${server}/replicas`);
  const { replicas } = (await response.json()) as { replicas: (ListedEngine & { replica_id: string })[] };
  return replicas.find(({ replica_id: id }) => id === 'e1');
}

async function startEngine(options: Parameters<typeof startOpenaiUpstream>[0]): Promise<OpenaiUpstream> {
  const engine = await startOpenaiUpstream(options);
  cleanups.push(() => engine.close());
  return engine;
}

/** Starts `anyserve register --openai` for the engine e1. */
function register(url: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Running {
  const running = start(['register', '--openai', url, '--id', 'e1', '--server', server, ...args], { env });
  cleanups.push(async () => {
    if (running.child.exitCode === null) await running.stop();
    await until('it is unregistered', async () => (await findEngine()) === undefined);
  });
  return running;
}

const vllm = (id: string): object => ({ id, owned_by: 'vllm', max_model_len: 32_768 });

describe('register --openai', () => {
  it('registers the URL of an engine with its models and its load, and follows the models under one lease', async () => {
    const engine = await startEngine({
      models: [vllm('qwen')],
      handleRequest: ({ path }, response) => {
        if (path !== '/metrics') return undefined;
        response.end(ENGINE_METRICS.vllm);
        return true;
      },
    });
    const running = register(`${engine.url}/`, ['--cap', 'gpu=h100', '--label', 'zone=a', '--type', 'e5=embed']);
    await running.waitForOutput(/registered e1/);
    const pairs = { ctx: 32_768, gpu: 'h100', zone: 'a' };
    const before = await findEngine();
    expect(before).toMatchObject({
      endpoint: engine.url,
      capabilities: [{ type: 'chat', model: 'qwen', ...pairs }],
      state: 'ready',
    });
    engine.offer([vllm('qwen'), vllm('lora'), { id: 'e5' }]);
    await running.waitForOutput(/updated e1/);
    const after = await findEngine();
    expect(after?.capabilities).toEqual([
      { type: 'chat', model: 'qwen', ...pairs },
      { type: 'chat', model: 'lora', ...pairs },
      { type: 'embed', model: 'e5', gpu: 'h100', zone: 'a' },
    ]);
    expect(after?.lease).toBe(before?.lease);
    await until('its load is reported', async () => (await findEngine())?.load !== undefined);
    expect((await findEngine())?.load).toEqual({ running: 5, waiting: 1 });
    const { stdout } = await running.stop('SIGINT');
    expect(stdout).toMatch(/^healthy\nregistered e1 .*\nupdated e1 .*\nunregistered e1\n$/);
  });

  it('is not ready while the engine is down or has no model', async () => {
    const port = await findFreePort();
    const running = register(`http://127.0.0.1:${port}/v1`);
    await running.waitForOutput(/waiting for http:.*nothing listens there/);
    const engine = await startOpenaiUpstream({ port, models: [] });
    await running.waitForOutput(/waiting for http:.*it has no model/);
    expect(await findEngine()).toBeUndefined();
    engine.offer(['a']);
    await running.waitForOutput(/registered e1/);
    engine.offer([]);
    await running.waitForOutput(/unhealthy, unregistered: http:.*it has no model/);
    await until('the server knows it', async () => (await findEngine())?.state !== 'ready');
    engine.offer(['b']);
    await until('it is ready again', async () => (await findEngine())?.state === 'ready');
    expect((await findEngine())?.capabilities).toEqual([{ type: 'chat', model: 'b' }]);
    await engine.close();
    await running.waitForOutput(/unhealthy, unregistered: http:.*nothing listens there/);
  });

  it('registers the address that callers use, and sends the key to the engine only', async () => {
    const keys = new Set<string | undefined>();
    const engine = await startEngine({
      models: ['a'],
      handleRequest: ({ path, authorization }) => {
        if (path === '/v1/models') keys.add(authorization);
        return undefined;
      },
    });
    const file = join(mkdtempSync(join(tmpdir(), 'anyserve-key-')), 'key');
    writeFileSync(file, 'secret-key\n', { mode: 0o600 });
    const running = register(engine.url, ['--advertise', 'https://gpu7:8443/v1', '--openai-key-file', file]);
    await running.waitForOutput(/registered e1/);
    expect(await findEngine()).toMatchObject({ endpoint: 'https://gpu7:8443/v1' });
    expect([...keys]).toEqual(['Bearer secret-key']);
    expect(running.stdout() + running.stderr()).not.toContain('secret-key');
  });

  it('runs the engine', async () => {
    const port = await findFreePort();
    const code = `require('node:http').createServer((request, response) =>
      response.end(request.url === '/v1/models' ? '{"data":[{"id":"a"}]}' : '{}')).listen(${port}, '127.0.0.1')`;
    const running = register(`http://127.0.0.1:${port}/v1`, ['--', process.execPath, '-e', code]);
    await until('it is registered', () => /registered e1/.test(running.stderr()));
    expect(await findEngine()).toMatchObject({ endpoint: `http://127.0.0.1:${port}/v1` });
    const { code: exitCode, stderr } = await running.stop();
    expect(stderr).toMatch(/unregistered e1\n$/);
    expect(exitCode).toBe(143);
  });

  it('ends, with the program that it runs, if the server cannot be registered', async () => {
    const port = await findFreePort();
    const code = `require('node:http').createServer((request, response) =>
      response.writeHead(401).end('{"error":{"message":"no key"}}')).listen(${port}, '127.0.0.1')`;
    const running = register(`http://127.0.0.1:${port}/v1`, ['--', process.execPath, '-e', code]);
    const { code: exitCode, stderr } = await running.ended;
    expect(stderr).toContain(
      `anyserve: http://127.0.0.1:${port}/v1 returned HTTP 401: no key; give AnyServe the key in`,
    );
    expect(exitCode).toBe(1);
  });

  it('reports invalid options in one line', async () => {
    const url = 'http://127.0.0.1:1/v1';
    const invalid: [string[], string][] = [
      [['--openai', 'localhost:8000'], '--openai: "localhost:8000" is not a base URL of an OpenAI-compatible server'],
      [['--openai', 'http://0.0.0.0:8000/v1'], 'other machines cannot call it'],
      [['--openai', url, '--endpoint', 'a:1'], '--endpoint does not apply to --openai: --advertise URL'],
      [['--openai', url, '--probe', 'tcp'], '--probe does not apply to --openai'],
      [['--openai', url, '--probe-path', 'health'], '--probe-path "health" is not a path'],
      [['--openai', url, '--advertise', 'gpu7:8000'], '--advertise: "gpu7:8000" is not a base URL'],
      [
        ['--openai', url, '--advertise', 'http://0.0.0.0:1/v1'],
        '--advertise: "http://0.0.0.0:1/v1" is not an endpoint',
      ],
      [['--openai', url, '--type', 'a=embedding'], '--type "a=embedding": expected NAME=embed'],
      [['--openai', url, '--type', 'a=chat', '--type', 'a=embed'], 'model "a" has two types, chat and embed'],
      [['--openai', url, '--openai-tls-ca', '/dev/null'], ''],
      [['--endpoint', 'a:1', '--cap', 'x=1', '--type', 'a=chat'], '--type requires --openai URL'],
      [[], 'missing --endpoint HOST:PORT, the address where callers reach the model server, or --openai URL'],
    ];
    const outcomes = await Promise.all(invalid.map(([args]) => run(['register', ...args, '--server', server])));
    for (const [index, { code, stderr }] of outcomes.entries()) {
      expect(stderr).toContain(invalid[index]?.[1]);
      expect([code, stderr.split('\n').length, invalid[index]?.[0]]).toEqual([2, 2, invalid[index]?.[0]]);
    }
  });
});
