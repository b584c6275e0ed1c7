import { afterEach, describe, expect, it } from 'vitest';
import { RegisteredEngine, type RegisteredEngineOptions } from '../../../src/client/engine/registered-engine.js';
import { createPairs } from '../../../src/core/capability.js';
import { createCapability } from '../../../src/json/capability-json.js';
import { ENGINE_METRICS } from '../../support/engine-metrics.js';
import { ManualClock } from '../../support/manual-clock.js';
import { startUpstream } from '../../support/openai-calls.js';
import { sendJson, type UpstreamHandler } from '../../support/openai-upstream.js';
import { until } from '../../support/until.js';

const engines: RegisteredEngine[] = [];
const { signal } = new AbortController();

afterEach(() => {
  for (const engine of engines.splice(0)) engine.close();
});

/** Creates an engine that records its capabilities and its permanent errors. */
function createEngine(url: string, options: Partial<RegisteredEngineOptions> = {}) {
  const clock = new ManualClock();
  const updates: string[][] = [];
  const errors: unknown[] = [];
  const engine = new RegisteredEngine({
    url,
    types: new Map(),
    capabilities: [],
    labels: [],
    clock,
    onCapabilities: (capabilities) => updates.push(capabilities.map(({ source }) => source)),
    onPermanentError: (error) => errors.push(error),
    ...options,
  });
  engines.push(engine);
  return { engine, clock, updates, errors };
}

/** Responds with JSON documents by path. */
const respondWith =
  (documents: Readonly<Record<string, object>>): UpstreamHandler =>
  ({ path }, response) => {
    const found = documents[path];
    if (found) sendJson(response, 200, found);
    return found && true;
  };

const vllm = (id: string): object => ({ id, owned_by: 'vllm', max_model_len: 32_768 });

describe('the capabilities of a registered engine', () => {
  it.each<[string, object[], Record<string, object>, string[]]>([
    ['vLLM', [vllm('qwen'), vllm('lora')], {}, ['chat qwen 32768', 'chat lora 32768']],
    [
      'SGLang',
      [{ id: 'qwen', owned_by: 'sglang', max_model_len: 4096 }],
      { '/get_model_info': { is_generation: true, has_image_understanding: true } },
      ['chat qwen 4096 vision'],
    ],
    [
      'llama.cpp',
      [{ id: 'tiny', owned_by: 'llamacpp', meta: { n_ctx: 1024 }, architecture: { output_modalities: ['text'] } }],
      { '/props': { chat_template_caps: { supports_tools: true, supports_tool_calls: true } } },
      ['chat tiny 1024 tools'],
    ],
    ['TGI', [{ id: 'llama', owned_by: 'x' }], { '/info': { max_total_tokens: 8192 } }, ['chat llama 8192']],
    [
      'Ollama',
      [{ id: 'a', owned_by: 'library' }],
      { '/api/tags': { models: [] }, '/api/show': { capabilities: ['completion', 'tools'] } },
      ['chat a tools'],
    ],
    [
      'models for other purposes',
      [
        { id: 'r', type: 'rerank' },
        { id: 'w', type: 'audio' },
      ],
      {},
      ['rerank r', 'audio w'],
    ],
    ['a server that only lists names', [{ id: 'gpt' }], {}, ['chat gpt']],
  ])('are those of its models: %s', async (_what, models, documents, expected) => {
    const upstream = await startUpstream(respondWith(documents), models);
    const { engine, updates } = createEngine(upstream.url);
    await engine.check(signal);
    expect(updates).toHaveLength(1);
    const texts = updates[0]?.map((source) => {
      const { type, model, ctx, tools, vision, ...others } = JSON.parse(source);
      expect(others).toEqual({});
      return [type, model, ctx, tools && 'tools', vision && 'vision'].filter((part) => part !== undefined).join(' ');
    });
    expect(texts).toEqual(expected);
  });

  it('include those of the options', async () => {
    const upstream = await startUpstream(undefined, [vllm('a'), { id: 'b:latest', type: 'embedding' }]);
    const { engine, updates } = createEngine(upstream.url, {
      types: new Map([
        ['a', 'rerank'],
        ['b', 'chat'],
      ]),
      capabilities: [
        createCapability({ gpu: 'h100' }),
        createCapability({ model: 'a', tier: 1, ctx: 100 }),
        createCapability({ model: 'later', tier: 2 }),
      ],
      labels: createPairs([['zone', 'x']]),
    });
    await engine.check(signal);
    expect(updates).toEqual([
      [
        '{"type":"rerank","model":"a","ctx":32768,"gpu":"h100","zone":"x"}',
        '{"type":"rerank","model":"a","ctx":100,"tier":1,"zone":"x"}',
        '{"type":"chat","model":"b:latest","gpu":"h100","zone":"x"}',
      ],
    ]);
  });

  it('follow its list, also when only the facts about a model change', async () => {
    const upstream = await startUpstream(undefined, [vllm('a')]);
    const { engine, updates } = createEngine(upstream.url);
    for (let n = 0; n < 3; n++) await engine.check(signal);
    expect(updates).toHaveLength(1);
    upstream.offer([vllm('a'), vllm('b')]);
    await engine.check(signal);
    upstream.offer([{ ...vllm('a'), max_model_len: 4096 }]);
    await engine.check(signal);
    expect(updates.map((sources) => sources.length)).toEqual([1, 2, 1]);
    expect(updates[2]).toEqual(['{"type":"chat","model":"a","ctx":4096}']);
  });

  it('are queried once per model, and again after a failure', async () => {
    let status = 200;
    let tools = ['completion'];
    const upstream = await startUpstream(
      ({ path }, response) => {
        if (path === '/api/tags') sendJson(response, 200, { models: [] });
        else if (path === '/api/show') sendJson(response, 200, { capabilities: tools });
        else if (path === '/v1/models' && status !== 200) response.destroy();
        else return undefined;
        return true;
      },
      [{ id: 'a', type: 'chat' }],
    );
    const { engine, updates } = createEngine(upstream.url);
    for (let n = 0; n < 3; n++) await engine.check(signal);
    expect(upstream.asked.filter((asked) => asked === 'POST /api/show')).toHaveLength(1);
    status = 0;
    await expect(engine.check(signal)).rejects.toMatchObject({ code: 'unavailable' });
    [status, tools] = [200, ['completion', 'tools']];
    await engine.check(signal);
    expect(updates).toEqual([['{"type":"chat","model":"a"}'], ['{"type":"chat","model":"a","tools":true}']]);
  });

  it('stay while it lists no model, but then it is not healthy', async () => {
    const upstream = await startUpstream(undefined, []);
    const { engine, updates, errors } = createEngine(upstream.url);
    await expect(engine.check(signal)).rejects.toThrow(`${upstream.url}: it has no model`);
    upstream.offer(['a']);
    await engine.check(signal);
    upstream.offer([]);
    await expect(engine.check(signal)).rejects.toMatchObject({ code: 'unavailable' });
    upstream.offer(['a']);
    await engine.check(signal);
    expect([updates, errors]).toEqual([[['{"type":"chat","model":"a"}']], []]);
  });

  it('can be named for a server without a list', async () => {
    const upstream = await startUpstream(({ path }, response) => {
      if (path !== '/v1/models') return undefined;
      sendJson(response, 404, {});
      return true;
    });
    const capabilities = [createCapability({ model: 'a', x: 1 }), createCapability({ model: 'a', x: 2 })];
    const { engine, updates } = createEngine(upstream.url, { capabilities });
    await engine.check(signal);
    expect(updates).toEqual([['{"type":"chat","model":"a","x":1}', '{"type":"chat","model":"a","x":2}']]);
  });
});

describe('the health of a registered engine', () => {
  it('is that of /health too, for known engines', async () => {
    let status = 503;
    const upstream = await startUpstream(
      ({ path }, response) => {
        if (path !== '/health') return undefined;
        sendJson(response, status, {});
        return true;
      },
      [vllm('a')],
    );
    const { engine, errors } = createEngine(upstream.url);
    await expect(engine.check(signal)).rejects.toMatchObject({ code: 'unavailable' });
    status = 200;
    await engine.check(signal);
    status = 503;
    await expect(engine.check(signal)).rejects.toMatchObject({ code: 'unavailable' });
    expect(errors).toEqual([]);
  });

  it('requests nothing that generates tokens', async () => {
    const upstream = await startUpstream(undefined, [{ id: 'a', owned_by: 'openai' }]);
    const { engine } = createEngine(upstream.url);
    for (let n = 0; n < 3; n++) await engine.check(signal);
    expect(upstream.asked.filter((asked) => /POST|health/.test(asked))).toEqual([]);
  });

  it('is not checked with the probe path none, after the list was read', async () => {
    const upstream = await startUpstream(undefined, [vllm('a')]);
    const { engine, updates } = createEngine(upstream.url, { probePath: 'none' });
    await engine.check(signal);
    await engine.check(signal);
    // A request that the engine sent before this one has arrived, too.
    await fetch(`${upstream.url}/last`);
    await upstream.close();
    await engine.check(signal);
    expect([upstream.asked.filter((asked) => asked !== 'GET /openapi.json'), updates.length]).toEqual([
      ['GET /v1/models', 'GET /v1/last'],
      1,
    ]);
  });

  it('cannot improve if the server rejects the key, or has no list', async () => {
    for (const [status, message] of [
      [401, 'give AnyServe the key in ANYSERVE_OPENAI_KEY'],
      [404, 'is not a list of models; check the URL, or name the models with --cap model=NAME'],
    ] as const) {
      const upstream = await startUpstream(({ path }, response) => {
        if (path !== '/v1/models') return undefined;
        sendJson(response, status, {});
        return true;
      });
      const { engine, errors } = createEngine(upstream.url);
      await expect(engine.check(signal)).rejects.toThrow(message);
      expect(errors).toMatchObject([{ message: expect.stringContaining(message) }]);
    }
  });

  it('can improve after the server has responded once', async () => {
    let status = 200;
    const upstream = await startUpstream(({ path }, response) => {
      if (path !== '/v1/models' || status === 200) return undefined;
      sendJson(response, status, {});
      return true;
    });
    const { engine, errors } = createEngine(upstream.url);
    await engine.check(signal);
    status = 401;
    await expect(engine.check(signal)).rejects.toThrow('HTTP 401');
    expect(errors).toEqual([]);
  });

  it.each([
    ['is only busy while its counters grow', true],
    ['is bad when its counters stand still', false],
  ])('%s during a check that times out', async (_what, works) => {
    let tokens = 0;
    let isSlow = false;
    const held: (() => void)[] = [];
    const upstream = await startUpstream(({ path }, response) => {
      if (path === '/metrics') {
        if (works) tokens++;
        response.end(`${ENGINE_METRICS.llamaCpp}llamacpp:n_decode_total ${tokens}\n`);
        return true;
      }
      if (path !== '/v1/models' || !isSlow) return undefined;
      return new Promise((resolve) => held.push(() => resolve(true)));
    });
    const { engine, clock } = createEngine(upstream.url);
    const countReadings = (): number => upstream.asked.filter((asked) => asked === 'GET /metrics').length;
    await engine.check(signal);
    await until('the metrics are read', () => countReadings() === 1 && engine.load !== undefined);
    expect(engine.load).toMatchObject({ running: 2, waiting: 7 });
    isSlow = true;
    const check = engine.check(signal).then(
      () => 'healthy',
      (error) => error.code,
    );
    await until('the list is requested', () => held.length === 1);
    await until('the next reading is due', () => clock.pending().includes(2000));
    clock.advance(2000);
    await until('the metrics are read again', () => countReadings() === 2 && clock.pending().includes(2000));
    clock.advance(8000);
    expect(await check).toBe(works ? 'healthy' : 'deadline_exceeded');
    for (const release of held) release();
  });
});
