import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { replaceBytes } from '../../src/gateway/body-pieces.js';
import type { RefusedBody } from '../../src/gateway/model-scanner.js';
import { type ScannedMultipartBody, scanMultipartBody } from '../../src/gateway/multipart-scanner.js';
import { expectLinearTime } from '../support/cpu-cost.js';
import { cutBytes, generatedCuts } from '../support/engine-responses.js';

const CONTENT_TYPE = 'multipart/form-data; boundary=X';

const scan = (body: string, contentType = CONTENT_TYPE): ScannedMultipartBody | RefusedBody =>
  scanMultipartBody([Buffer.from(body, 'latin1')], contentType);

const part = (headers: string, value: string): string => `--X\r\n${headers}\r\n\r\n${value}\r\n`;
const NAMED = 'Content-Disposition: form-data; name=';
const MODEL = part(`${NAMED}"model"`, 'whisper');
const FILE = part(`${NAMED}"file"; filename="a.wav"\r\nContent-Type: audio/wav`, '\0\r\n\xff--\r\n--Y');

/** Fields as undici's FormData encodes them. */
async function encode(fields: readonly (readonly [string, string | Uint8Array])[]): Promise<[Buffer, string]> {
  const form = new FormData();
  for (const [name, value] of fields)
    form.append(
      name,
      typeof value === 'string' ? value : new Blob([Buffer.from(value)]),
      ...(typeof value === 'string' ? [] : (['a "b".wav'] as [string])),
    );
  const response = new Response(form);
  return [Buffer.from(await response.arrayBuffer()), response.headers.get('content-type') ?? ''];
}

/** Returns the fields `model` as undici's parser finds them. Undefined if the body isn't valid for it. */
async function findModels(body: Buffer, contentType: string): Promise<unknown[] | undefined> {
  try {
    return (await new Response(body, { headers: { 'content-type': contentType } }).formData()).getAll('model');
  } catch {
    return undefined;
  }
}

const generatedFields = fc.array(
  fc.tuple(
    fc.oneof(
      fc.constantFrom('model', 'file', 'Model', 'model "x"', 'prompt'),
      fc.string({ minLength: 1, maxLength: 6 }),
    ),
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.uint8Array({ maxLength: 100 }),
      fc.constant('--\r\n\r\n--'),
    ),
  ),
  { minLength: 1, maxLength: 5 },
);

describe('the model of a multipart body', () => {
  it.each([
    ['alone', `${MODEL}--X--`],
    ['before a file', `${MODEL}${FILE}--X--\r\n`],
    ['after a file', `${FILE}${MODEL}--X--\r\n`],
    ['with an unquoted name', `${part(`${NAMED}model`, 'whisper')}--X--`],
    ['with headers in another case', `${part('CONTENT-DISPOSITION:Form-Data ;NAME="model" ', 'whisper')}--X--`],
    [
      'with a type and a plain encoding',
      `${part(`Content-Type: text/plain\r\n${NAMED}"model"\r\nContent-Transfer-Encoding: 8BIT`, 'whisper')}--X--`,
    ],
  ])('is found, with its bytes: %s', (_what, body) => {
    const start = body.indexOf('whisper');
    expect(scan(body)).toMatchObject({ kind: 'multipart', model: { name: 'whisper', start, end: start + 7 } });
  });

  it.each([
    ['a quoted boundary', 'Multipart/Form-Data; charset=utf-8; Boundary="X"'],
    ['spaces', ' multipart/form-data ; boundary=X '],
  ])('is found with %s', (_what, contentType) => {
    expect(scan(`${MODEL}--X--`, contentType)).toMatchObject({ model: { name: 'whisper' } });
  });

  it.each([
    ['true', true],
    ['false', false],
    ['truer', false],
    ['', false],
  ])('is found beside a field stream: %s', (text, isStream) => {
    const fields = part(`${NAMED}"model"`, 'whisper') + part(`${NAMED}"stream"`, text);
    expect(scan(`${fields}${FILE}--X--`)).toMatchObject({ model: { name: 'whisper' }, isStream });
  });

  it('is undefined without the field', () => {
    expect(scan(`${FILE}--X--`)).toEqual({ kind: 'multipart', model: undefined, isStream: false });
    expect(scan(`${part(`${NAMED}"a"; filename="name=\\x; model"`, 'b')}--X--`)).toMatchObject({ model: undefined });
  });

  it.each([
    ['two models', `${MODEL}${MODEL}--X--`, /more than one "model"/],
    ['a model that is a file', `${part(`${NAMED}"model"; filename="a"`, 'm')}--X--`, /not a plain text/],
    [
      'a model that is a file with an encoded name',
      `${part(`${NAMED}"model"; filename*=utf-8''a`, 'm')}--X--`,
      /not a plain text/,
    ],
    [
      'a model in base64',
      `${part(`${NAMED}"model"\r\nContent-Transfer-Encoding: base64`, 'bQ==')}--X--`,
      /not a plain text/,
    ],
    ['a model that is not UTF-8', `${part(`${NAMED}"model"`, '\xff')}--X--`, /not a plain text/],
    [
      'an encoded name',
      `${part("Content-Disposition: form-data; name=a; name*=utf-8''model", 'm')}--X--`,
      /no valid name/,
    ],
    ['a name in parts', `${part(`${NAMED}"a"; name*0="mod"; name*1="el"`, 'm')}--X--`, /no valid name/],
    ['two names', `${part(`${NAMED}"a"; name="model"`, 'm')}--X--`, /no valid name/],
    ['a name with a backslash', `${part(`${NAMED}"mo\\del"`, 'm')}--X--`, /no valid name/],
    [
      'an escaped quote',
      `${part(`Content-Disposition: form-data; filename="a\\"; name="model"`, 'm')}--X--`,
      /no valid name/,
    ],
    ['no name', `${part('Content-Disposition: form-data', 'm')}--X--`, /no valid name/],
    ['an empty parameter', `${part('Content-Disposition: form-data;; name="model"', 'm')}--X--`, /no valid name/],
    ['another disposition', `${part('Content-Disposition: attachment; name="model"', 'm')}--X--`, /no valid name/],
    ['no disposition', `${part('Content-Type: text/plain', 'm')}--X--`, /no valid name/],
    ['two dispositions', `${part(`${NAMED}"a"\r\n${NAMED}"model"`, 'm')}--X--`, /not valid or repeated/],
    [
      'a folded header',
      `${part('Content-Disposition: form-data;\r\n name="model"', 'm')}--X--`,
      /not valid or repeated/,
    ],
    ['a header with a line feed alone', `${part(`A: b\n${NAMED}"model"`, 'm')}--X--`, /not valid or repeated/],
    ['no headers', '--X\r\n\r\nm\r\n--X--', /not valid or repeated|no end of its headers/],
    ['no end of the headers', `--X\r\n${NAMED}"model"\r\n--X--`, /no end of its headers/],
    ['long headers', `${part(`A: ${'b'.repeat(9000)}\r\n${NAMED}"model"`, 'm')}--X--`, /no end of its headers/],
    ['text before the boundary', `a\r\n${MODEL}--X--`, /does not start with the boundary/],
    ['text after the end', `${MODEL}--X--\r\n${MODEL}--X--`, /not a line/],
    ['a line before the boundary', `\r\n${MODEL}--X--`, /does not start with the boundary/],
    ['a part after a line feed alone', `${part(`${NAMED}"a"`, `b\n${MODEL.trimEnd()}`)}--X--`, /not a line/],
    ['a boundary with a tail', `--Xa\r\n${MODEL}--X--`, /not a line/],
    ['a boundary with a space', `--X \r\n${MODEL}--X--`, /not a line/],
    ['a boundary with a line feed alone', `--X\n${NAMED}"model"\r\n\r\nm\r\n--X--`, /not a line/],
    ['a boundary within a value', `${part(`${NAMED}"model"`, 'a--Xb')}--X--`, /not a line/],
    ['no end', MODEL, /does not end with the boundary/],
    ['an end that is cut', `${MODEL}--X-`, /not a line/],
    ['an empty body', '', /does not start with the boundary/],
  ])('is refused: %s', (_what, body, message) => {
    expect(scan(body)).toEqual({ kind: 'refused', message: expect.stringMatching(message) });
  });

  it.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=X; boundary=Y',
    "multipart/form-data; boundary=Y; boundary*=utf-8''X",
    'multipart/form-data; boundary="X',
    'multipart/form-data; boundary="X "',
    `multipart/form-data; boundary=${'X'.repeat(71)}`,
    'multipart/mixed; boundary=X',
    '',
  ])('is refused with the content-type %s', (contentType) => {
    expect(scan(`${MODEL}--X--`, contentType)).toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/content-type/),
    });
  });
});

describe('the scan of encoded forms', () => {
  it('finds the field, refuses repeated ones and files, and finds the bytes', async () => {
    await fc.assert(
      fc.asyncProperty(generatedFields, generatedCuts, async (fields, cuts) => {
        const [body, contentType] = await encode(fields);
        const result = scanMultipartBody(cutBytes(body, cuts), contentType);
        const models = fields.filter(([name]) => name === 'model');
        const isRefused = models.length > 1 || models.some(([, value]) => typeof value !== 'string');
        const hasBackslash = fields.some(([name]) => name.includes('\\'));
        expect(result.kind).toBe(isRefused || hasBackslash ? 'refused' : 'multipart');
        if (result.kind === 'refused') return;
        expect(result.model?.name).toEqual((await findModels(body, contentType))?.[0]);
        if (!result.model) return;
        const replaced = Buffer.concat(replaceBytes(cutBytes(body, cuts), result.model, Buffer.from('alias')));
        expect(await findModels(replaced, contentType)).toEqual(['alias']);
      }),
      { numRuns: 300 },
    );
  });

  it('with changed bytes accepts nothing in which another parser finds another model', async () => {
    const snippet = fc
      .constantFrom('\r\n', '\n', '--', ';', '"', ' ', '\\', 'model', '\r\n\r\n', ': ', '=')
      .map((text) => Buffer.from(text));
    const mutation = fc.tuple(fc.nat(), fc.nat({ max: 3 }), fc.oneof(snippet, fc.uint8Array({ maxLength: 2 })));
    await fc.assert(
      fc.asyncProperty(
        generatedFields,
        mutation,
        generatedCuts,
        async (fields, [position, removed, inserted], cuts) => {
          const [original, contentType] = await encode(fields);
          const at = position % (original.length + 1);
          const body = Buffer.concat([original.subarray(0, at), inserted, original.subarray(at + removed)]);
          const result = scanMultipartBody([body], contentType);
          expect(scanMultipartBody(cutBytes(body, cuts), contentType)).toEqual(result);
          const models = await findModels(body, contentType);
          if (models && result.kind === 'multipart') expect(models).toEqual(result.model ? [result.model.name] : []);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is the same for a body in tiny pieces', async () => {
    const [body, contentType] = await encode([
      ['file', new Uint8Array(500)],
      ['model', 'whisper'],
      ['file', new Uint8Array(500)],
    ]);
    const result = scanMultipartBody([body], contentType);
    expect(result).toMatchObject({ model: { name: 'whisper' } });
    for (const size of [1, 2, 3, 7]) {
      const cuts = Array.from({ length: Math.ceil(body.length / size) }, (_, index) => index * size);
      expect(scanMultipartBody(cutBytes(body, cuts), contentType)).toEqual(result);
    }
  });
});

describe('the time of a scan is linear in the length', () => {
  it.each([
    ['a large file', (length: number) => part(`${NAMED}"file"`, '\0'.repeat(length))],
    ['dashes', (length: number) => part(`${NAMED}"file"`, '-'.repeat(length))],
    ['many parts', (length: number) => part(`${NAMED}"file"`, '').repeat(length / 60)],
    ['parts with two headers', (length: number) => part(`A: b\r\n${NAMED}"a"`, '').repeat(length / 60)],
  ])('for %s, whole and in small pieces', (_what, make) => {
    expectLinearTime((length) => {
      const pieces = [Buffer.from(`${make(length)}--X--`)];
      return () => scanMultipartBody(pieces, CONTENT_TYPE);
    }, 200_000);
    expectLinearTime((length) => {
      const body = Buffer.from(`${make(length)}--X--`);
      const pieces = cutBytes(
        body,
        Array.from({ length: body.length / 5 }, (_, index) => 5 * index),
      );
      return () => scanMultipartBody(pieces, CONTENT_TYPE);
    }, 20_000);
  });
});
