import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { replaceBytes } from '../../src/gateway/body-pieces.js';
import { JsonBodyScanner, type RefusedBody, type ScannedJsonBody } from '../../src/gateway/model-scanner.js';
import { expectLinearTime } from '../support/cpu-cost.js';
import { cutBytes, generatedCuts } from '../support/engine-responses.js';
import { generatedObject } from '../support/json-bodies.js';

const scanner = new JsonBodyScanner(['user', 'messages']);

const scan = (body: string | Buffer): ScannedJsonBody | RefusedBody => scanner.scan([Buffer.from(body)]);

/** Parses a body as engines do: strict UTF-8, then JSON. Undefined if it isn't valid. */
function parse(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return undefined;
  }
}

const isObject = (json: unknown): json is Record<string, unknown> =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

const isModelName = ([name]: readonly [string, unknown]): boolean => name.toLowerCase() === 'model';

const NOT_JSON = expect.stringMatching(/^the body is not a JSON object: unexpected byte or end at position \d+$/);

describe('the model of a JSON body', () => {
  it.each([
    ['{"model":"m"}', 'm', '"m"'],
    [' \r\n\t{ "a" : [ {"model":"x"} ] , "model" : "a\\"b" , "b" : {"model":"y"} } \n', 'a"b', '"a\\"b"'],
    ['{"\\u006dod\\u0065l":"m\\u00e9"}', 'mé', '"m\\u00e9"'],
    ['{"model":"","messages":"\\\\"}', '', '""'],
    ['{"messages":"{\\"model\\":\\"x\\"}","model":"m"}', 'm', '"m"'],
    ['{"ignored":{"model":"x","model":"y"},"model":"m"}', 'm', '"m"'],
  ])('of %s is found, with its bytes', (body, name, bytes) => {
    const { model } = scan(body) as ScannedJsonBody;
    expect(model?.name).toBe(name);
    expect(Buffer.from(body).subarray(model?.start, model?.end).toString()).toBe(bytes);
  });

  it.each(['{}', ' { } ', '{"models":"m"}', '{"a":{"model":"m"}}', '{"Model":"m"}', '{"model ":"m"}'])(
    'of %s is undefined',
    (body) => {
      expect(scan(body)).toMatchObject({ kind: 'json', model: undefined });
    },
  );

  it.each([
    ['two models', '{"model":"a","model":"b"}'],
    ['the same model twice', '{"model":"a","model":"a"}'],
    ['a second model in another spelling', '{"model":"a","mod\\u0065l":"b"}'],
    ['a second model that is null', '{"model":null,"model":"b"}'],
    ['a second model in another case, which Ollama reads', '{"model":"a","MODEL":"b"}'],
    ['a second model in another case and spelling', '{"\\u004dodel":"a","model":"b"}'],
  ])('is refused: %s', (_what, body) => {
    expect(scan(body)).toEqual({ kind: 'refused', message: 'the body has more than one "model"' });
  });

  it.each(['null', '1', '{}', '["m"]', 'true'])('is refused if it is %s', (value) => {
    expect(scan(`{"model":${value}}`)).toEqual({ kind: 'refused', message: '"model" is not a string' });
  });

  it.each([
    '',
    ' ',
    '[]',
    '"model"',
    'null',
    '[{"model":"m"}]',
    '{',
    '{"model":"m"',
    '{"model":"m"}}',
    '{"model":"m"} {}',
    '{"model":"m"},',
    '{"model":"m",}',
    '{,"model":"m"}',
    '{"a" "model":"m"}',
    '{"model"}',
    '{"model":}',
    '{"model":"m" "a":1}',
    '{model:"m"}',
    "{'model':'m'}",
    '{"model":"m\\',
    '{"model":"m\\x"}',
    '{"model":"a\nb"}',
    '{"mod\\el":"m"}',
    '{"a":NaN,"model":"m"}',
    '{"a":[1,NaN],"model":"m"}',
    '{/* "a":1 */"model":"m"}',
    '{"a":[/*"*/],"model":"m","b":[/*"*/]}',
    '{"a":[}',
    '\ufeff{"model":"m"}',
    '{"stream":tru}',
    '\0{\0}\0',
  ])('is refused if the body is not a JSON object: %s', (body) => {
    expect(scan(body)).toEqual({ kind: 'refused', message: NOT_JSON });
    expect(isObject(parse(Buffer.from(body)))).toBe(false);
  });

  it.each([
    ['a lone byte', [0xff]],
    ['a cut character', [0xe6, 0xbc]],
    ['an overlong character', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a code point that is too large', [0xf4, 0x90, 0x80, 0x80]],
  ])('is refused if the body is not UTF-8: %s', (_what, bytes) => {
    const body = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('","model":"m"}')]);
    fc.assert(
      fc.property(generatedCuts, (cuts) => {
        expect(scanner.scan(cutBytes(body, cuts))).toEqual({ kind: 'refused', message: 'the body is not valid UTF-8' });
      }),
      { numRuns: 30 },
    );
  });

  it('shows no text of the body in a refusal', () => {
    expect(JSON.stringify(scan('{"model":secret}'))).not.toContain('secret');
  });
});

it('a body that is cut at any position has the same result', () => {
  const long = 'x'.repeat(70);
  const text = `{"${long}\\"":"${long}\\\\\\"${long}\\\\","a":["${long}\\"é漢😀",{}],"mod\\u0065l":"m\\"é","stream":true}`;
  const body = Buffer.from(text);
  const result = scanner.scan([body]);
  expect(result).toMatchObject({ model: { name: 'm"é' }, isStream: true });
  for (let at = 0; at <= body.length; at++) expect(scanner.scan(cutBytes(body, [at]))).toEqual(result);
});

describe('other members', () => {
  it('that are wanted are found in the same scan', () => {
    const { values, isStream } = scan(
      '{"user":"u","stream":true,"model":"m","x":1,"messages":[{"a":1}]}',
    ) as ScannedJsonBody;
    expect(isStream).toBe(true);
    expect([...values]).toEqual([
      ['user', 'u'],
      ['messages', [{ a: 1 }]],
    ]);
  });

  it.each(['false', 'null', '"true"', '1', '[true]'])('do not say that the response is a stream: %s', (value) => {
    expect(scan(`{"stream":${value}}`)).toMatchObject({ isStream: false });
  });
});

describe('the scan of generated bodies', () => {
  it('finds the same as JSON.parse, refuses repeated models, and finds the bytes of the model', () => {
    fc.assert(
      fc.property(generatedObject, generatedCuts, ({ text, members }, cuts) => {
        const body = Buffer.from(text);
        const json = JSON.parse(text) as Record<string, unknown>;
        const result = scanner.scan(cutBytes(body, cuts));
        const models = members.filter(isModelName);
        const own = models.filter(([name]) => name === 'model');
        if (own.length > 0 && models.length > 1)
          return void expect(result).toEqual({ kind: 'refused', message: 'the body has more than one "model"' });
        if (own.length > 0 && typeof json['model'] !== 'string')
          return void expect(result).toEqual({ kind: 'refused', message: '"model" is not a string' });
        if (result.kind !== 'json') throw new Error(result.message);
        expect(result.model?.name).toEqual(own.length > 0 ? json['model'] : undefined);
        expect(result.isStream).toBe(json['stream'] === true);
        for (const name of ['user', 'messages'])
          expect([result.values.has(name), result.values.get(name)]).toEqual([Object.hasOwn(json, name), json[name]]);
        if (!result.model) return;
        const replaced = replaceBytes(cutBytes(body, cuts), result.model, Buffer.from('"alias"'));
        expect(JSON.parse(Buffer.concat(replaced).toString())).toEqual({ ...json, model: 'alias' });
      }),
      { numRuns: 1000 },
    );
  });

  it('with changed bytes accepts nothing in which JSON.parse finds another model', () => {
    const mutation = fc.record({
      at: fc.nat(),
      removed: fc.nat({ max: 4 }),
      inserted: fc.oneof(
        fc.uint8Array({ maxLength: 3 }),
        fc
          .constantFrom('"', '\\', '\\"', '{', '}', '[', ']', ',', ':', '"model":"x",', ' ', '\n', '/', '\u2028')
          .map((text) => Buffer.from(text)),
      ),
    });
    let [valid, refused] = [0, 0];
    fc.assert(
      fc.property(
        generatedObject,
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        generatedCuts,
        ({ text }, mutations, cuts) => {
          let body = Buffer.from(text);
          for (const { at, removed, inserted } of mutations) {
            const start = at % (body.length + 1);
            body = Buffer.concat([body.subarray(0, start), inserted, body.subarray(start + removed)]);
          }
          const result = scanner.scan([body]);
          expect(scanner.scan(cutBytes(body, cuts))).toEqual(result);
          const json = parse(body);
          if (result.kind === 'refused') refused++;
          if (json === undefined) return;
          valid++;
          if (result.kind === 'json') {
            expect(isObject(json) && [json['model'], json['stream'] === true]).toEqual([
              result.model?.name,
              result.isStream,
            ]);
          } else if (result.message.startsWith('the body')) {
            // Valid JSON is refused only for its models, or because it isn't an object.
            expect(isObject(json) && !result.message.includes('more than one')).toBe(false);
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(Math.min(valid, refused)).toBeGreaterThan(30);
  });
});

describe('the time of a scan is linear in the length', () => {
  const SHAPES: Readonly<Record<string, (length: number) => string>> = {
    'a long string': (length) => `{"a":"${'b'.repeat(length)}"}`,
    'escaped quotes': (length) => `{"a":"${'\\"'.repeat(length / 2)}"}`,
    backslashes: (length) => `{"a":"${'\\\\'.repeat(length / 2)}"}`,
    'a quote after each run of backslashes': (length) => `{"a":"${`${'\\\\'.repeat(40)}\\"`.repeat(length / 82)}"}`,
    'a long name': (length) => `{"${'b'.repeat(length)}":1}`,
    'many names': (length) => `{${'"model1":1,'.repeat(length / 11)}"a":1}`,
    'many escaped names': (length) => `{${'"\\u006d":1,'.repeat(length / 11)}"a":1}`,
    'many models': (length) => `{${'"model":1,'.repeat(length / 10)}"a":1}`,
    'nested arrays': (length) => `{"a":${'['.repeat(length / 2)}${']'.repeat(length / 2)}}`,
    numbers: (length) => `{"a":[${'1,'.repeat(length / 2)}1]}`,
    spaces: (length) => `{${' '.repeat(length)}}`,
    'an endless string': (length) => `{"a":"${'b'.repeat(length)}`,
  };

  it.each(Object.entries(SHAPES))('for %s, whole and byte by byte', (_shape, make) => {
    expectLinearTime((length) => {
      const pieces = [Buffer.from(make(length))];
      return () => scanner.scan(pieces);
    }, 100_000);
    expectLinearTime((length) => {
      const pieces = Array.from(Buffer.from(make(length)), (byte) => Buffer.from([byte]));
      return () => scanner.scan(pieces);
    }, 10_000);
  });
});
