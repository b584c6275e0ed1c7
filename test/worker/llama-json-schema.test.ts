import { describe, expect, it } from 'vitest';
import { toGrammarSchema, UnsupportedSchemaError } from '../../src/worker/llama-json-schema.js';

describe('a JSON Schema', () => {
  it.each<[string, unknown, unknown]>([
    ['drops annotations', { type: 'null', title: 'x', default: 1 }, { type: 'null' }],
    ['keeps the constraints of strings', { type: 'string', maxLength: 3 }, { type: 'string', maxLength: 3 }],
    ['has alternatives', { anyOf: [{ type: 'null' }, { const: 1 }] }, { oneOf: [{ type: 'null' }, { enum: [1] }] }],
    [
      'splits several types',
      { type: ['object', 'null'], properties: { a: { type: 'integer' } }, additionalProperties: false },
      {
        oneOf: [
          { type: 'object', properties: { a: { type: 'integer' } }, additionalProperties: false },
          { type: 'null' },
        ],
      },
    ],
    [
      'of an object without properties allows any',
      { type: 'object' },
      { type: 'object', properties: {}, additionalProperties: true },
    ],
    [
      'refers to definitions by either name',
      { items: { $ref: '#/definitions/a' }, definitions: { a: { enum: ['x'] } } },
      { type: 'array', items: { $ref: '#/$defs/a' }, $defs: { a: { enum: ['x'] } } },
    ],
  ])('%s', (_what, schema, expected) => {
    expect(toGrammarSchema(schema)).toEqual(expected);
  });

  it.each<[unknown, string]>([
    [true, 'the schema is not an object'],
    [{}, 'the schema has no type'],
    [{ type: 'toString' }, 'the schema has no type, or one that is unknown: "toString"'],
    [{ type: 'integer', minimum: 1 }, 'the schema has "minimum"'],
    [{ properties: { a: { type: 'string', pattern: 'x' } } }, 'the schema.a has "pattern"'],
    [{ type: 'string', format: 'email' }, 'the schema has the format "email"'],
    [{ type: 'string', maxLength: 1_000_000 }, '"maxLength" is not an integer from 0 to 1000'],
    [{ type: 'array', minItems: 2, maxItems: 1 }, '"minItems" is greater than "maxItems"'],
    [{ type: 'object', required: ['a'] }, 'the schema requires "a"'],
    [{ $ref: '#' }, 'refers to "#"'],
    [{ $ref: '#/$defs/toString' }, 'refers to "#/$defs/toString"'],
    [{ anyOf: [], allOf: [] }, 'the schema has "allOf"'],
    [{ enum: [[]] }, 'has a list or an object in "enum"'],
  ])('that has no grammar is refused with the reason: %j', (schema, reason) => {
    expect(() => toGrammarSchema(schema)).toThrow(UnsupportedSchemaError);
    expect(() => toGrammarSchema(schema)).toThrow(reason);
  });

  it('is not nested too deep', () => {
    let schema: object = { type: 'null' };
    for (let depth = 0; depth < 40; depth++) schema = { type: 'array', items: schema };
    expect(() => toGrammarSchema(schema)).toThrow('nested more than 32 deep');
  });
});
