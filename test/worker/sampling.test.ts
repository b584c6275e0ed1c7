import { describe, expect, it } from 'vitest';
import type { ParameterValue } from '../../src/inference/inference-data.js';
import { parseSampling } from '../../src/worker/sampling.js';

describe('sampling', () => {
  it('is set by the parameters only', () => {
    expect(parseSampling({})).toEqual({ stop: [] });
    expect(parseSampling({ temperature: 0, top_p: 1, max_tokens: 1, seed: 0, stop: 'END' })).toEqual({
      temperature: 0,
      topP: 1,
      maxTokens: 1,
      seed: 0,
      stop: ['END'],
    });
    expect(parseSampling({ triton_enable_empty_final_response: true })).toEqual({ stop: [] });
  });

  it.each([
    ['["a","b"]', ['a', 'b']],
    ['[INST]', ['[INST]']],
    ['[1]', ['[1]']],
    ['[', ['[']],
  ])('reads the stop texts of %s', (stop, texts) => {
    expect(parseSampling({ stop }).stop).toEqual(texts);
  });

  it.each<[string, ParameterValue, string]>([
    ['temperature', -0.1, 'is -0.1; it must be a number of at least 0'],
    ['temperature', '0.5', 'is "0.5"; it must be a number of at least 0'],
    ['temperature', Number.NaN, 'is NaN; it must be a number of at least 0'],
    ['temperature', Number.POSITIVE_INFINITY, 'is Infinity; it must be'],
    ['top_p', 0, 'is 0; it must be a number greater than 0 and at most 1'],
    ['top_p', 1.01, 'is 1.01; it must be'],
    ['max_tokens', 0, 'is 0; it must be an integer of at least 1'],
    ['max_tokens', 1.5, 'is 1.5; it must be'],
    ['max_tokens', 2n ** 63n, 'is 9223372036854775808; it must be'],
    ['seed', -1, 'is -1; it must be an integer from 0 to 4294967295'],
    ['seed', 2 ** 32, 'is 4294967296; it must be'],
    ['stop', '', 'is ""; it must be a non-empty string or a JSON array of non-empty strings'],
    ['stop', '[]', 'is "[]"; it must be'],
    ['stop', '["a",""]', 'is "[\\"a\\",\\"\\"]"; it must be'],
    ['stop', true, 'is true; it must be'],
    ['max_completion_tokens', 0, 'is 0; it must be an integer of at least 1'],
  ])('rejects the parameter %s: %s', (name, value, message) => {
    expect(() => parseSampling({ [name]: value })).toThrow(
      expect.objectContaining({
        code: 'invalid_argument',
        message: expect.stringContaining(`parameter "${name}" ${message}`),
      }),
    );
  });

  it.each<[string, ParameterValue, string]>([
    [
      'top_k',
      3,
      'is not supported by this model; supported: temperature, top_p, max_tokens, max_completion_tokens, seed, stop',
    ],
    ['toString', 3, 'is not supported by this model'],
    ['n', 2, "is 2, which this model doesn't support"],
    ['n', '1', 'is "1", which'],
    ['frequency_penalty', 0.5, 'is 0.5, which'],
    ['logprobs', true, 'is true, which'],
    ['logprobs', 0, 'is 0, which'],
    ['top_logprobs', 1, 'is 1, which'],
    ['logit_bias', '{"1":2}', 'is "{\\"1\\":2}", which'],
    ['tools', '[{"type":"function"}]', 'is "[{\\"type\\":\\"function\\"}]", which'],
    ['tool_choice', 'required', 'is "required", which'],
  ])('leaves the parameter %s: %s to replicas that support it', (name, value, message) => {
    expect(() => parseSampling({ [name]: value })).toThrow(
      expect.objectContaining({
        code: 'unimplemented',
        message: expect.stringContaining(`parameter "${name}" ${message}`),
      }),
    );
  });

  it.each<[string, ParameterValue]>([
    ['user', 'me'],
    ['safety_identifier', 'x'],
    ['prompt_cache_key', 'x'],
    ['n', 1],
    ['best_of', 1],
    ['frequency_penalty', 0],
    ['presence_penalty', 0],
    ['logit_bias', '{}'],
    ['logprobs', false],
    ['top_logprobs', 0],
    ['response_format', '{ "type": "text" }'],
    ['tools', ' []'],
    ['tool_choice', 'auto'],
    ['parallel_tool_calls', true],
    ['triton_enable_empty_final_response', true],
  ])('accepts the parameter %s: %s, which has no effect', (name, value) => {
    expect(parseSampling({ [name]: value })).toEqual({ stop: [] });
  });
});
