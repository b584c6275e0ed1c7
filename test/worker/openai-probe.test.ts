import { describe, expect, it } from 'vitest';
import type { Model } from '../../src/worker/backend.js';
import { BackendHealth } from '../../src/worker/backend-health.js';
import { ManualClock } from '../support/manual-clock.js';
import { startBackend, startUpstream } from '../support/openai-calls.js';
import { sendJson, type UpstreamHandler } from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const { signal } = new AbortController();

/** Responds to a path with a status. */
const respondToPath =
  (path: string, status: () => number): UpstreamHandler =>
  (request, response) => {
    if (request.path !== path) return undefined;
    sendJson(response, status(), { error: { message: 'because' } });
    return true;
  };

const setOwner = (by: string): object => ({ id: 'm', object: 'model', owned_by: by });

describe('the probe of an engine', () => {
  it.each<[string, object[], Record<string, string>, object | undefined]>([
    ['vLLM', [setOwner('vllm'), { ...setOwner('vllm'), id: 'lora' }], { server: 'uvicorn' }, undefined],
    ['SGLang', [setOwner('sglang')], {}, undefined],
    ['llama.cpp, by its owner', [setOwner('llamacpp')], {}, undefined],
    ['llama.cpp, by its header', [setOwner('me')], { server: 'llama.cpp' }, undefined],
    [
      'TGI',
      [setOwner('meta-llama/Llama-3')],
      {},
      { model_id: 'x', router: 'text-generation-router', max_total_tokens: 4096 },
    ],
  ])('is /health next to the list of models, without the key: %s', async (_engine, models, headers, info) => {
    let status = 200;
    const keys: (string | undefined)[] = [];
    const upstream = await startUpstream(
      ({ path, authorization }, response) => {
        if (path === '/info' && info) sendJson(response, 200, info);
        else if (path === '/health') {
          keys.push(authorization);
          sendJson(response, status, {});
        } else return undefined;
        return true;
      },
      models,
      { headers },
    );
    const { check } = await startBackend(upstream, { key: 'the-key' });
    await check?.(signal);
    status = 503;
    await expect(check?.(signal)).rejects.toMatchObject({ code: 'unavailable' });
    expect(new Set(keys)).toEqual(new Set([undefined]));
  });

  it.each<[string, object[], Record<string, string>]>([
    ['LiteLLM', [setOwner('openai')], { server: 'uvicorn' }],
    ['LiteLLM that lists vLLM’s entry as it is', [setOwner('vllm')], { 'x-litellm-version': '1.0' }],
    ['a proxy in front of several engines', [setOwner('vllm'), { ...setOwner('sglang'), id: 'n' }], {}],
    ['an unknown engine', [setOwner('me')], {}],
    ['Ollama', [setOwner('library')], {}],
    ['a list without owners', [{ id: 'a' }], {}],
  ])('is only the list of models, and generates no tokens: %s', async (_engine, models, headers) => {
    const upstream = await startUpstream(undefined, models, { headers });
    const { check } = await startBackend(upstream);
    for (let looks = 0; looks < 3; looks++) await check?.(signal);
    expect(upstream.asked.filter((asked) => /health|POST/.test(asked))).toEqual([]);
    expect(upstream.asked.filter((asked) => asked === 'GET /v1/models')).toHaveLength(4);
  });

  it('is the given path, below the URL', async () => {
    let status = 200;
    const upstream = await startUpstream(
      respondToPath('/v1/alive', () => status),
      [setOwner('vllm')],
    );
    const { check } = await startBackend(upstream, { probePath: '/alive' });
    await check?.(signal);
    expect(upstream.asked).toContain('GET /v1/alive');
    expect(upstream.asked).not.toContain('GET /health');
    status = 500;
    await expect(check?.(signal)).rejects.toThrow(`${upstream.url}/alive returned HTTP 500: because`);
  });

  it('is the given path next to /v1, when there is none below it', async () => {
    let status = 200;
    const upstream = await startUpstream(respondToPath('/health/liveliness', () => status));
    const { check } = await startBackend(upstream, { probePath: '/health/liveliness' });
    await check?.(signal);
    status = 404;
    await expect(check?.(signal)).rejects.toThrow('/health/liveliness returned HTTP 404');
  });

  it('reports that the given path does not exist', async () => {
    const upstream = await startUpstream();
    await expect(startBackend(upstream, { probePath: '/nowhere' })).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringContaining('/nowhere returned HTTP 404'),
    });
    await expect(startBackend(upstream, { probePath: 'nowhere' })).rejects.toMatchObject({ code: 'usage' });
  });

  it('with an explicit path does not need the list of models', async () => {
    let isListing = true;
    const upstream = await startUpstream(({ path }, response) => {
      if (path === '/v1/models' && !isListing) sendJson(response, 500, {});
      else if (path === '/v1/alive') sendJson(response, 200, {});
      else return undefined;
      return true;
    });
    const { check } = await startBackend(upstream, { probePath: '/alive' });
    isListing = false;
    await check?.(signal);
  });

  it('with an explicit path fails when the list of models is empty', async () => {
    const upstream = await startUpstream(respondToPath('/v1/alive', () => 200));
    const { check } = await startBackend(upstream, { probePath: '/alive' });
    await check?.(signal);
    upstream.offer([]);
    await expect(check?.(signal)).rejects.toThrow(`${upstream.url} no longer offers any model`);
  });

  it('can be disabled', async () => {
    const upstream = await startUpstream(undefined, [setOwner('vllm')]);
    const { check } = await startBackend(upstream, { probePath: 'none' });
    const asked = upstream.asked.length;
    await check?.(signal);
    expect(upstream.asked).toHaveLength(asked);
    expect(upstream.asked).not.toContain('GET /health');
  });

  it('can be the list of models for a known engine', async () => {
    const upstream = await startUpstream(undefined, [setOwner('vllm')]);
    const { check } = await startBackend(upstream, { probePath: '/models' });
    await check?.(signal);
    expect(upstream.asked).not.toContain('GET /health');
  });
});

describe('an engine that responds slowly to a probe', () => {
  /** Starts an engine whose list of models responds when the test releases it. */
  async function startSlowEngine() {
    const time = new ManualClock();
    let isSlow = false;
    const held: (() => void)[] = [];
    const upstream = await startUpstream(({ path }) => {
      if (path !== '/v1/models' || !isSlow) return undefined;
      return new Promise((resolve) => held.push(() => resolve(true)));
    });
    const backend = await startBackend(upstream, { clock: time });
    isSlow = true;
    const call = async (): Promise<void> => {
      const inputs = { prompt: { datatype: 'BYTES', shape: [1], data: [Buffer.from('x')] } };
      const context = { model: '', version: '', id: '', parameters: {}, outputs: [], streaming: false, signal };
      const [model] = backend.models as [Model];
      for await (const _part of model.handle(inputs as never, context) as AsyncIterable<unknown>);
    };
    return { time, backend, held, call };
  }

  it('has 10 s, and then is unhealthy', async () => {
    const { time, backend, held } = await startSlowEngine();
    let failure: unknown;
    const looked = backend.check?.(signal).catch((error) => {
      failure = error;
    });
    await until('it gets a request', () => held.length === 1);
    time.advance(9900);
    await new Promise(setImmediate);
    expect(failure).toBeUndefined();
    time.advance(100);
    await looked;
    expect(failure).toMatchObject({
      code: 'deadline_exceeded',
      message: expect.stringContaining('no response within 10 s'),
    });
  });

  it('is healthy while it responds to calls', async () => {
    const { time, backend, held, call } = await startSlowEngine();
    const looked = backend.check?.(signal);
    await until('it gets a request', () => held.length === 1);
    await call();
    time.advance(10_000);
    await expect(looked).resolves.toBeUndefined();
  });

  it('is not healthy because of calls that it responded to before the check', async () => {
    const { time, backend, held, call } = await startSlowEngine();
    await call();
    time.advance(1);
    const looked = backend.check?.(signal);
    looked?.catch(() => {});
    await until('it gets a request', () => held.length === 1);
    time.advance(10_000);
    await expect(looked).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('stays healthy for the worker, which waits equally long', async () => {
    const time = new ManualClock();
    const changes: string[] = [];
    const done: (() => void)[] = [];
    const check = (): Promise<void> => new Promise((resolve) => done.push(resolve));
    const watches = new BackendHealth([{ models: [], check, checkTimeoutMs: 11_000 }], time, ({ kind }) => {
      changes.push(kind);
    });
    watches.start();
    await until('it checks', () => done.length === 1);
    time.advance(10_500);
    done[0]?.();
    await until('it is healthy', () => watches.areHealthy);
    expect(changes).toEqual(['healthy']);
    watches.stop();
  });
});
