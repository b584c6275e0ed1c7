import { expect, it } from 'vitest';
import { addLabels, createCapability, parseCapability } from '../../src/json/capability-json.js';
import { parseJson } from '../../src/json/exact-json.js';
import type { JsonObject } from '../../src/json/json-value.js';

it('adds labels to every object that does not have the key', () => {
  const source = '{"zone":null,"n":1.0,"tags":["a"]}';
  const objects = [createCapability({ type: 'chat' }), parseCapability(parseJson(source) as JsonObject)];
  const labelled = addLabels(objects, ['zone', 'a', 'rack', '7']);
  expect(labelled).toEqual([
    { pairs: ['type', 'chat', 'zone', 'a', 'rack', '7'], source: '{"type":"chat","zone":"a","rack":"7"}' },
    { pairs: ['n', '1.0', 'rack', '7'], source: '{"zone":null,"n":1.0,"tags":["a"],"rack":"7"}' },
  ]);
  expect(addLabels(objects, [])).toBe(objects);
});
