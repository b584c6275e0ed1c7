import { describe, expect, it } from 'vitest';
import { createPairs, matches } from '../../src/core/capability.js';
import { parseCapability } from '../../src/json/capability-json.js';
import { parseJson } from '../../src/json/exact-json.js';
import { isJsonObject } from '../../src/json/json-value.js';

/** Returns whether a query matches capabilities in JSON. */
function match(query: [string, string][], ...capabilities: string[]): boolean {
  const objects = capabilities.map((text) => parseJson(text)).filter(isJsonObject);
  return matches(createPairs(query), objects.map(parseCapability));
}

describe('matches', () => {
  it('requires every pair of the query in one capability object', () => {
    expect(match([['model', 'llama']], '{"model":"qwen2"}', '{"model":"llama","type":"chat"}')).toBe(true);
    expect(
      match(
        [
          ['model', 'llama'],
          ['type', 'chat'],
        ],
        '{"model":"llama","type":"chat","gpu":"h100"}',
      ),
    ).toBe(true);
  });

  it('never combines the pairs of several objects', () => {
    expect(
      match(
        [
          ['model', 'qwen2'],
          ['type', 'chat'],
        ],
        '{"model":"qwen2"}',
        '{"type":"chat"}',
      ),
    ).toBe(false);
  });

  it('matches any capability object with the empty query, and nothing without objects', () => {
    expect(match([], '{"model":"x"}')).toBe(true);
    expect(match([], '{}')).toBe(true);
    expect(match([])).toBe(false);
    expect(match([['a', '']], '{}')).toBe(false);
  });

  it.each([
    ['1', '1'],
    ['1.0', '1.0'],
    ['true', 'true'],
    ['false', 'false'],
    ['12345678901234567890', '12345678901234567890'],
    ['"1"', '1'],
  ])('compares the registered scalar %s as the text %s', (registered, asked) => {
    expect(match([['x', asked]], `{"x":${registered}}`)).toBe(true);
    expect(match([['x', `${asked} `]], `{"x":${registered}}`)).toBe(false);
  });

  it.each(['null', '{}', '[]', '["a"]', '{"a":1}'])('never matches the registered value %s', (registered) => {
    for (const asked of ['', 'null', '[]', '{}', 'a', registered]) {
      expect(match([['x', asked]], `{"x":${registered}}`)).toBe(false);
    }
  });

  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])('treats %s as an ordinary key', (key) => {
    expect(match([[key, 'x']], `{"${key}":"x"}`)).toBe(true);
    expect(match([[key, 'x']], '{"a":"x"}')).toBe(false);
  });

  it('is case-sensitive', () => {
    expect(match([['Model', 'a']], '{"model":"a"}')).toBe(false);
    expect(match([['model', 'A']], '{"model":"a"}')).toBe(false);
  });
});
