import { describe, expect, it } from 'vitest';
import { detectModelType } from '../../src/client/engine/model-type.js';
import { parseModelList } from '../../src/client/engine/openai-models.js';
import { startBackend, startUpstream } from '../support/openai-calls.js';
import { sendJson } from '../support/openai-upstream.js';

describe('a list of models', () => {
  it.each<[string, unknown, string[] | undefined]>([
    ['as from OpenAI', { data: [{ id: 'a' }, { id: 'b' }] }, ['a', 'b']],
    ['as a bare array', [{ id: 'a' }, { id: 'b' }], ['a', 'b']],
    ['with names', { models: [{ name: 'a', model: 'a' }] }, ['a']],
    ['of strings', ['a', 'b'], ['a', 'b']],
    [
      'with entries that have no usable name',
      [{ id: 'a' }, {}, null, { id: 1 }, { id: '' }, { id: 'x'.repeat(2000) }],
      ['a'],
    ],
    ['with a duplicate', [{ id: 'a' }, { id: 'a' }], ['a']],
    ['that is empty', { data: [] }, []],
    ['that is null, as from Ollama without a model', { object: 'list', data: null }, []],
    ['inside another object', { data: { models: [{ id: 'a' }] } }, ['a']],
    ['inside another list', { data: { object: 'list', data: [{ id: 'a' }] } }, ['a']],
    ['that is invalid', { detail: 'x' }, undefined],
  ])('is parsed: %s', (_what, list, names) => {
    expect(parseModelList(list)?.map(({ name }) => name)).toEqual(names);
  });

  it('has at most as many models as a registration has capabilities', () => {
    const list = Array.from({ length: 5000 }, (_, at) => ({ id: `m${at}` }));
    expect(() => parseModelList(list)).toThrow('its list has 5000 models');
  });

  it('can be a bare array', async () => {
    const upstream = await startUpstream(({ path }, response) => {
      if (path !== '/v1/models') return undefined;
      sendJson(response, 200, [{ id: 'a', type: 'chat' }]);
      return true;
    });
    expect((await startBackend(upstream)).models.map(({ name }) => name)).toEqual(['a']);
  });
});

describe('the type of a model', () => {
  it.each<[object, string | undefined]>([
    [{ id: 'gpt', object: 'model' }, undefined],
    [{ type: 'model' }, undefined],
    [{ model_info: { mode: 'embedding' } }, 'embed'],
    [{ mode: 'chat' }, 'chat'],
    [{ mode: 'audio_transcription' }, 'audio'],
    [{ mode: 'image_generation' }, 'image'],
    [{ mode: 'rerank' }, 'rerank'],
    [{ type: 'embedding' }, 'embed'],
    [{ type: 'language' }, 'chat'],
    [{ type: 'embeddings' }, 'embed'],
    [{ type: 'vlm' }, 'chat'],
    [{ task: 'embed' }, 'embed'],
    [{ task: 'chat-completion' }, 'chat'],
    [{ task: 'generate' }, 'chat'],
    [{ pipeline_tag: 'sentence-similarity' }, 'embed'],
    [{ meta: { task: 'embedding' } }, 'embed'],
    [{ model_type: 'LLM' }, 'chat'],
    [{ model_type: 'embedding' }, 'embed'],
    [{ model_type: { embedding: { pooling: 'cls' } } }, 'embed'],
    [{ model_type: { reranker: {} } }, 'rerank'],
    [{ capabilities: ['embedding'] }, 'embed'],
    [{ capabilities: ['completion', 'tools'] }, 'chat'],
    [{ capabilities: ['embed', 'rerank'] }, 'embed'],
    [{ capabilities: { completion_chat: true, embeddings: false } }, 'chat'],
    [{ capabilities: { completion_chat: false, embeddings: true } }, 'embed'],
    [{ architecture: { output_modalities: ['text'] } }, 'chat'],
    [{ architecture: { output_modalities: ['embeddings'] } }, 'embed'],
    [{ supported_endpoints: ['/v1/embeddings'] }, 'embed'],
    [{ supported_endpoints: ['/v1/chat/completions', '/v1/embeddings'] }, 'chat'],
    [{ is_generation: false }, 'embed'],
    [{ status: { value: 'unloaded', args: ['llama-server', '--embeddings'] } }, 'embed'],
    [{ type: 5, mode: null, capabilities: 'x', model_type: '__proto__' }, undefined],
  ])('is derived from %j: %s', (entry, type) => {
    expect(detectModelType(entry)).toBe(type);
  });
});

describe('the types of an engine’s models', () => {
  const listTypes = async (url: string, options = {}): Promise<(string | undefined)[]> =>
    (await startBackend({ url }, options)).models.map(({ capabilities }) => capabilities[0]?.source);

  it.each<[string, object[], Record<string, object>]>([
    ['their list', [{ id: 'a' }, { id: 'e', type: 'embedding' }], {}],
    [
      'LiteLLM',
      [
        { id: 'a', owned_by: 'openai' },
        { id: 'e', owned_by: 'openai' },
      ],
      { '/v1/model/info': { data: [{ model_name: 'e', model_info: { mode: 'embedding' } }] } },
    ],
    ['LM Studio', [{ id: 'a' }, { id: 'e' }], { '/api/v0/models': { data: [{ id: 'e', type: 'embeddings' }] } }],
  ])('come from %s', async (_who, models, documents) => {
    const upstream = await startUpstream(({ path }, response) => {
      const found = documents[path];
      if (found) sendJson(response, 200, found);
      return found && true;
    }, models);
    expect(await listTypes(upstream.url)).toEqual(['{"type":"chat","model":"a"}', '{"type":"embed","model":"e"}']);
  });

  it.each<[string, string, Record<string, object>]>([
    ['SGLang', 'sglang', { '/get_model_info': { model_path: 'x', is_generation: false } }],
    ['vLLM', 'vllm', { '/openapi.json': { paths: { '/v1/embeddings': {}, '/health': {} } } }],
  ])('come from %s for all listed models', async (_who, owner, documents) => {
    const upstream = await startUpstream(
      ({ path }, response) => {
        const found = documents[path];
        if (found) sendJson(response, 200, found);
        return found && true;
      },
      [{ id: 'e', owned_by: owner }],
    );
    expect(await listTypes(upstream.url)).toEqual(['{"type":"embed","model":"e"}']);
  });

  it('come from Ollama, with a request for each model', async () => {
    const upstream = await startUpstream(
      ({ path, body }, response) => {
        if (path === '/api/tags') sendJson(response, 200, { models: [{ name: 'e:latest' }] });
        else if (path === '/api/show')
          sendJson(response, 200, { capabilities: [body.model === 'a' ? 'completion' : 'embedding'] });
        else return undefined;
        return true;
      },
      ['a', 'e:latest'],
    );
    expect(await listTypes(upstream.url)).toEqual([
      '{"type":"chat","model":"a"}',
      '{"type":"embed","model":"e:latest"}',
    ]);
    expect(upstream.requests.map(({ path }) => path)).toEqual(['/api/show', '/api/show']);
  });

  it('come from TEI, which has no list', async () => {
    const upstream = await startUpstream(({ path }, response) => {
      if (path === '/v1/models') sendJson(response, 404, {});
      else if (path === '/info')
        sendJson(response, 200, { model_id: 'e', model_type: { embedding: { pooling: 'cls' } } });
      else return undefined;
      return true;
    });
    expect(await listTypes(upstream.url)).toEqual(['{"type":"embed","model":"e"}']);
  });

  it('are requested once, not at each check', async () => {
    const upstream = await startUpstream();
    const { check } = await startBackend(upstream);
    const asked = upstream.asked.length;
    await check?.(new AbortController().signal);
    expect(upstream.asked.slice(asked)).toEqual(['GET /v1/models']);
  });

  it.each<[string, number, object, object, string[]]>([
    ['an empty list', 200, { data: [] }, {}, []],
    ['no list', 404, {}, {}, []],
    [
      'no list, but one model',
      404,
      {},
      { model_id: 'e', model_type: { embedding: { pooling: 'cls' } } },
      ['GET /info'],
    ],
    ['no list, and is TGI', 404, {}, { router: 'text-generation-router' }, ['GET /health']],
  ])('are not queried at each check of an engine with %s', async (_what, status, list, info, queries) => {
    let isListing = true;
    const upstream = await startUpstream(({ path }, response) => {
      if (path === '/v1/models' && isListing) return undefined;
      if (path === '/v1/models') sendJson(response, status, list);
      else if (path === '/info') sendJson(response, 200, info);
      else if (path === '/health') sendJson(response, 200, {});
      else return undefined;
      return true;
    });
    const { check } = await startBackend(upstream, { models: ['tiny'] });
    isListing = false;
    const { signal } = new AbortController();
    await check?.(signal).catch(() => {});
    const asked = upstream.asked.length;
    for (let n = 0; n < 3; n++) await check?.(signal).catch(() => {});
    const expected = Array.from({ length: 3 }, () => ['GET /v1/models', ...queries]).flat();
    expect(upstream.asked.slice(asked).sort()).toEqual(expected.sort());
  });

  it("give way to the user's settings, and unsupported models are omitted with a log line", async () => {
    const models = [
      { id: 'a', type: 'embedding' },
      { id: 'b' },
      { id: 'whisper', type: 'audio' },
      { id: 'r', type: 'rerank' },
    ];
    const upstream = await startUpstream(undefined, models);
    const { models: offered, log } = await startBackend(upstream, { chatModels: ['a', 'r'], embeddingModels: ['b'] });
    expect(offered.map(({ capabilities }) => capabilities[0]?.source)).toEqual([
      '{"type":"chat","model":"a"}',
      '{"type":"embed","model":"b"}',
      '{"type":"chat","model":"r"}',
    ]);
    expect(log.lines).toEqual([
      'skipping model "whisper": the server says it is for audio; to serve it: --type whisper=chat',
    ]);
  });

  it('are an error when the worker can serve none of them, or the named model does not exist', async () => {
    const upstream = await startUpstream(undefined, [{ id: 'whisper', type: 'audio' }]);
    await expect(startBackend(upstream)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('--type'),
    });
    await expect(startBackend(upstream, { chatModels: ['x'] })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('has no model "x"'),
    });
  });
});
