import { describe, expect, it } from 'vitest';
import { parseReplicaList } from '../../src/api/replica-list-json.js';
import { parseJson, SERVER_JSON_LIMITS } from '../../src/json/exact-json.js';
import { serializeJson } from '../../src/json/json-value.js';
import { parsePlainJson } from '../../src/json/plain-json.js';

describe('plain JSON', () => {
  it.each([
    '{"a":[1,-2,0.5,1700000005.123,123456789012345],"b":{"c":null,"d":true},"__proto__":1}',
    '{"a":"1.0","b":"x\\"1.0,\\\\","c":"é😀","a":2}',
    '[]',
    ' { "a" : [ 1 , 2 ] } '.replaceAll('" :', '":'),
  ])('serializes %s like the exact parser', (text) => {
    const plain = parsePlainJson(text);
    expect(plain).toBeDefined();
    expect(JSON.stringify(plain)).toBe(serializeJson(parseJson(text, SERVER_JSON_LIMITS)));
  });

  it.each([
    ['a number that JavaScript formats differently', '[1.0]'],
    ['a negative zero', '[-0]'],
    ['an exponent', '[1e3]'],
    ['more digits than a double has', '[12345678901234567]'],
    ['a small fraction', '[0.0000001]'],
    ['a key that objects move to the front', '{"b":1,"1":2}'],
    ['such a key with an escape', '{"b":1,"\\u0031":2}'],
    ['such a key with a space before the colon', '{"b":1,"1" :2}'],
    ['deep nesting', `${'['.repeat(1000)}${']'.repeat(1000)}`],
    ['very deep nesting', '['.repeat(10_000_000)],
    ['very many values', `[${'{},'.repeat(1_500_000)}1]`],
    ['malformed text', '{"a":'],
    ['empty text', ''],
  ])('leaves %s to the exact parser', (_what, text) => {
    expect(parsePlainJson(text)).toBeUndefined();
  });
});

it.each(['1', '1.0', '12345678901234567890'])('a listed replica keeps the number %s as it was registered', (number) => {
  const entry = `{"replica_id":"r1","endpoint":"a:1","capabilities":[{"n":${number},"t":"x"}],"state":"ready","since":1}`;
  const [listed] = parseReplicaList(`{"now":3,"replicas":[${entry}]}`) ?? [];
  expect(listed?.toText()).toBe(entry);
  expect(listed).toMatchObject({ state: 'ready', stateAgeMs: 2000 });
  expect(listed?.replica.capabilities).toEqual([{ pairs: ['n', number, 't', 'x'], source: `{"n":${number},"t":"x"}` }]);
});
