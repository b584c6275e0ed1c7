import { describe, expect, it } from 'vitest';
import { createPairs } from '../../src/core/capability.js';
import { matchesSelector } from '../../src/core/selector.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { createCapability, parseCapability } from '../../src/json/capability-json.js';
import { parseJson } from '../../src/json/exact-json.js';
import { isJsonObject } from '../../src/json/json-value.js';
import { drawObjects, drawPlainQuery, drawSelector, matchesPlainly } from '../support/plain-selector.js';
import { createSeededRandom } from '../support/seeded-random.js';

/** Returns whether a query and a selector match capabilities in JSON. */
function match(asked: Readonly<Record<string, string>>, selector: string, ...capabilities: string[]): boolean {
  const objects = capabilities.map((text) => parseJson(text)).filter(isJsonObject);
  const query = createPairs(Object.entries(asked));
  return matchesSelector(query, parseSelector(selector, 'selector'), objects.map(parseCapability));
}

describe('a selector', () => {
  it('is judged together with the query on one capability object', () => {
    const objects = ['{"type":"chat","gpu":"a100"}', '{"type":"embed","gpu":"h100"}'];
    expect(match({ type: 'chat' }, 'gpu=a100', ...objects)).toBe(true);
    expect(match({ type: 'chat' }, 'gpu=h100', ...objects)).toBe(false);
    expect(match({}, 'type=embed,gpu=h100', ...objects)).toBe(true);
    expect(match({}, 'type=embed,gpu!=h100', ...objects)).toBe(false);
  });

  it('holds for every object if the query is empty and all terms are negative', () => {
    const objects = ['{"gpu":"a100"}', '{"gpu":"h100"}'];
    expect(match({}, 'gpu!=h100', ...objects)).toBe(false);
    expect(match({}, 'gpu!=l4,!zone', ...objects)).toBe(true);
    expect(match({}, 'gpu,gpu!=h100', ...objects)).toBe(true);
    expect(match({ gpu: 'a100' }, 'gpu!=h100', ...objects)).toBe(true);
  });

  it('matches no replica without capability objects', () => {
    expect(match({}, '')).toBe(false);
    expect(match({}, '!gpu')).toBe(false);
    expect(match({}, '!gpu', '{}')).toBe(true);
  });

  it.each(['[1]', '["a"]', 'null', '{"a":1}'])('treats a key with the value %s like an absent one', (value) => {
    const object = `{"x":${value},"type":"chat"}`;
    for (const selector of ['x', 'x=1', 'x=a', 'x=null', 'x in (a,1)', 'x>0']) {
      expect(match({ type: 'chat' }, selector, object)).toBe(false);
    }
    for (const selector of ['!x', 'x!=1', 'x notin (a,1)'])
      expect(match({ type: 'chat' }, selector, object)).toBe(true);
  });

  it('compares values for equality as text, and for order as numbers', () => {
    expect(match({}, 'x=1', '{"x":1}')).toBe(true);
    expect(match({}, 'x=1', '{"x":1.0}')).toBe(false);
    expect(match({}, 'x>=1,x<=1', '{"x":1.0}')).toBe(true);
    expect(match({}, 'x>9', '{"x":"10"}')).toBe(true);
    expect(match({}, 'x>9', '{"x":"10b"}')).toBe(false);
    expect(match({}, 'x>9', '{"x":true}')).toBe(false);
    expect(match({}, 'x>9007199254740992', '{"x":9007199254740993}')).toBe(true);
  });

  it.each([1, 2, 3])('agrees with the plain evaluator (seed %i)', (seed) => {
    const random = createSeededRandom(seed);
    const pick = (bound: number): number => Math.floor(random.fraction() * bound);
    let matching = 0;
    for (let run = 0; run < 10_000; run++) {
      const [query, selector, objects] = [drawPlainQuery(pick), drawSelector(pick), drawObjects(pick)];
      const isMatch = matchesPlainly(query, selector, objects);
      const parsed = parseSelector(selector.text, 'selector');
      const found = matchesSelector(createPairs(Object.entries(query)), parsed, objects.map(createCapability));
      expect(found, JSON.stringify({ query, selector: selector.text, objects })).toBe(isMatch);
      matching += Number(isMatch);
    }
    expect(matching).toBeGreaterThan(1000);
  });
});
