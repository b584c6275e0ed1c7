import { describe, expect, it } from 'vitest';
import { readModelFacts } from '../../../src/client/engine/model-facts.js';

describe('what an engine says about a model', () => {
  it.each<[string, object, object]>([
    ['vLLM', { id: 'a', owned_by: 'vllm', max_model_len: 32_768 }, { contextLength: 32_768 }],
    [
      'llama.cpp',
      {
        id: 'a',
        architecture: { input_modalities: ['text', 'image'], output_modalities: ['text'] },
        meta: { n_ctx: 1024, n_ctx_train: 2048 },
      },
      { type: 'chat', contextLength: 1024, vision: true },
    ],
    [
      'the properties of llama.cpp',
      {
        modalities: { vision: true, audio: false },
        chat_template_caps: { supports_tools: true, supports_tool_calls: true },
      },
      { tools: true, vision: true },
    ],
    [
      'the properties of llama.cpp, without tools and images',
      {
        modalities: { vision: false },
        chat_template_caps: { supports_tools: false, supports_tool_calls: false },
      },
      {},
    ],
    ['SGLang', { is_generation: true, has_image_understanding: true }, { vision: true }],
    ['SGLang, without images', { is_generation: false, has_image_understanding: false }, { type: 'embed' }],
    ['Ollama', { capabilities: ['completion', 'tools', 'vision'] }, { type: 'chat', tools: true, vision: true }],
    [
      'LM Studio',
      {
        type: 'vlm',
        state: 'loaded',
        max_context_length: 131_072,
        loaded_context_length: 4096,
        capabilities: ['tool_use'],
      },
      { type: 'chat', contextLength: 4096, tools: true, vision: true },
    ],
    [
      'LM Studio, whose model is not loaded',
      { type: 'llm', state: 'not-loaded', max_context_length: 131_072 },
      { type: 'chat' },
    ],
    [
      'Mistral',
      { capabilities: { completion_chat: true, function_calling: true, vision: false }, max_context_length: 131_072 },
      { type: 'chat', contextLength: 131_072, tools: true },
    ],
    [
      'OpenRouter',
      {
        context_length: 200_000,
        architecture: { input_modalities: ['text', 'image'] },
        supported_parameters: ['temperature', 'tools'],
      },
      { contextLength: 200_000, tools: true, vision: true },
    ],
    ['Groq', { context_window: 8192 }, { contextLength: 8192 }],
    [
      'LiteLLM',
      {
        model_info: {
          mode: 'chat',
          max_input_tokens: 128_000,
          supports_function_calling: true,
          supports_vision: null,
        },
      },
      { type: 'chat', contextLength: 128_000, tools: true },
    ],
    ['TGI', { max_total_tokens: 8192, max_input_tokens: 8191 }, { contextLength: 8192 }],
    ['TEI', { model_type: { embedding: {} }, max_input_length: 512 }, { type: 'embed', contextLength: 512 }],
    ['an unknown engine', { id: 'a', object: 'model' }, {}],
    [
      'fields of other types',
      {
        max_model_len: '32768',
        context_length: 1.5,
        context_window: 0,
        meta: null,
        model_info: 'x',
        capabilities: 'tools',
        supported_parameters: { tools: 'no' },
        architecture: 5,
        modalities: null,
      },
      {},
    ],
  ])('is read: %s', (_engine, entry, facts) => {
    expect(readModelFacts(entry)).toEqual(facts);
  });

  it.each([undefined, null, 5, 'vision', []])('is nothing in %j', (entry) => {
    expect(readModelFacts(entry)).toEqual({});
  });
});
