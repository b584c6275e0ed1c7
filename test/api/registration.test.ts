import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRegistration, validateOversizedBody } from '../../src/api/registration.js';
import { serializeValidationIssues } from '../../src/api/validation-issues.js';

/** Returns the 422 body for an invalid registration. Undefined for a valid one. */
function getValidationBody(body: string): string | undefined {
  const outcome = parseRegistration(body);
  return outcome.kind === 'invalid' ? serializeValidationIssues(outcome.issues) : undefined;
}

function serializeRegistered(body: string): string {
  const outcome = parseRegistration(body);
  if (outcome.kind === 'invalid') throw new Error(serializeValidationIssues(outcome.issues));
  return outcome.replica.listEntry;
}

describe('registration', () => {
  it('is serialized as it was sent', () => {
    const body =
      '{"replica_id":"r1","endpoint":"localhost:50051","capabilities":[{"model":"qwen2"},{"n":1.0,"big":9007199254740993,"x":[null]}]}';
    expect(serializeRegistered(body)).toBe(body);
  });

  it('ignores unknown fields', () => {
    expect(serializeRegistered('{"extra":1,"replica_id":"a","endpoint":"e","capabilities":[]}')).toBe(
      '{"replica_id":"a","endpoint":"e","capabilities":[]}',
    );
  });

  it.each([
    ['1', 1],
    ['1000', 1000],
    ['2.0', 2],
    ['null', 1],
  ])('accepts the weight %s', (weight, expected) => {
    const outcome = parseRegistration(`{"replica_id":"a","endpoint":"e","capabilities":[],"weight":${weight}}`);
    expect(outcome).toMatchObject({ kind: 'registration', weight: expected });
  });

  it.each([
    ['0', 'value_error', 'Value error, the weight must be an integer from 1 to 1000'],
    ['1001', 'value_error', 'Value error, the weight must be an integer from 1 to 1000'],
    ['1.5', 'value_error', 'Value error, the weight must be an integer from 1 to 1000'],
    ['1e300', 'value_error', 'Value error, the weight must be an integer from 1 to 1000'],
    ['"2"', 'int_type', 'Input should be a valid integer'],
    ['true', 'int_type', 'Input should be a valid integer'],
  ])('rejects the weight %s', (weight, type, msg) => {
    const body = getValidationBody(`{"replica_id":"a","endpoint":"e","capabilities":[],"weight":${weight}}`);
    expect(JSON.parse(body ?? '{}').detail).toMatchObject([{ type, loc: ['body', 'weight'], msg }]);
    expect(body).toContain(`"input":${weight}`);
  });

  it('can have a load, which is checked', () => {
    const parse = (load: string) =>
      parseRegistration(`{"replica_id":"a","endpoint":"e","capabilities":[],"load":${load}}`);
    expect(parse('{"running":1,"waiting":2}')).toMatchObject({ load: { running: 1, waiting: 2, limit: undefined } });
    expect(parse('null')).toMatchObject({ kind: 'registration', load: undefined });
    expect(parse('{"running":1}')).toMatchObject({ kind: 'invalid', issues: [{ loc: ['body', 'load', 'waiting'] }] });
  });

  // The expected bodies are those of FastAPI 0.165 with Pydantic 2.14.
  it.each([
    ['', '{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}'],
    [
      '{}',
      '{"detail":[{"type":"missing","loc":["body","replica_id"],"msg":"Field required","input":{}},{"type":"missing","loc":["body","endpoint"],"msg":"Field required","input":{}},{"type":"missing","loc":["body","capabilities"],"msg":"Field required","input":{}}]}',
    ],
    [
      '{"a":1,}',
      '{"detail":[{"type":"json_invalid","loc":["body",7],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting property name enclosed in double quotes"}}]}',
    ],
    [
      '[]',
      '{"detail":[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":[]}]}',
    ],
    [
      '{"replica_id":1,"endpoint":null,"capabilities":{}}',
      '{"detail":[{"type":"string_type","loc":["body","replica_id"],"msg":"Input should be a valid string","input":1},{"type":"string_type","loc":["body","endpoint"],"msg":"Input should be a valid string","input":null},{"type":"list_type","loc":["body","capabilities"],"msg":"Input should be a valid list","input":{}}]}',
    ],
    [
      '{"replica_id":"a","endpoint":"e","capabilities":[{},1,"a"]}',
      '{"detail":[{"type":"dict_type","loc":["body","capabilities",1],"msg":"Input should be a valid dictionary","input":1},{"type":"dict_type","loc":["body","capabilities",2],"msg":"Input should be a valid dictionary","input":"a"}]}',
    ],
  ])('rejects %j like FastAPI', (body, expected) => {
    expect(getValidationBody(body)).toBe(expected);
  });

  it.each([
    [`{"replica_id":"${'x'.repeat(129)}","endpoint":"e","capabilities":[]}`, 'at most 128 bytes'],
    [`{"replica_id":"a","endpoint":"${'x'.repeat(257)}","capabilities":[]}`, 'at most 256 bytes'],
    [
      '{"replica_id":"a","endpoint":"ftp://h:1","capabilities":[]}',
      'Value error, callers cannot dial it; give HOST:PORT',
    ],
    [`{"replica_id":"a","endpoint":"e","capabilities":[${Array(4097).fill('{}').join()}]}`, 'at most 4096'],
    [
      `{"replica_id":"a","endpoint":"e","capabilities":[${Array(1366).fill('{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1}').join()}]}`,
      '16392 pairs together; a replica can have at most 16384',
    ],
    [
      `{"replica_id":"a","endpoint":"e","capabilities":[{${Array.from({ length: 33 }, (_, n) => `"k${n}":1`).join()}}]}`,
      'at most 32',
    ],
    [`{"replica_id":"a","endpoint":"e","capabilities":[{"${'k'.repeat(257)}":1}]}`, 'at most 256 bytes'],
    [`{"replica_id":"a","endpoint":"e","capabilities":[{"k":"${'é'.repeat(129)}"}]}`, 'at most 256 bytes'],
  ])('names the exceeded limit (%#)', (body, limit) => {
    const { detail } = JSON.parse(getValidationBody(body) ?? '{}') as { detail: { type: string; msg: string }[] };
    expect(detail).toHaveLength(1);
    expect(detail[0]).toMatchObject({ type: 'value_error', msg: expect.stringContaining(limit) });
  });

  it('rejects an empty id like FastAPI rejects a short string', () => {
    expect(JSON.parse(getValidationBody('{"replica_id":"","endpoint":"e","capabilities":[]}') ?? '{}')).toEqual({
      detail: [
        {
          type: 'string_too_short',
          loc: ['body', 'replica_id'],
          msg: 'String should have at least 1 character',
          input: '',
          ctx: { min_length: 1 },
        },
      ],
    });
  });

  it('accepts a registration at the limits, and rejects JSON with too many values', () => {
    const capabilities = Array(4096).fill('{"a":1,"b":2,"c":3,"d":4}').join();
    const body = `{"replica_id":"a","endpoint":"e","capabilities":[${capabilities}]}`;
    expect(serializeRegistered(body)).toBe(body);
    expect(getValidationBody(`{"x":[${'0,'.repeat(100_000)}0]}`)).toContain('its JSON holds too many values');
  });

  it('reports deep nesting of a body over the size limit', () => {
    expect(validateOversizedBody('{"a":'.repeat(70))).toMatchObject([
      { type: 'json_invalid', loc: ['body', expect.any(Number)] },
    ]);
    expect(validateOversizedBody('{"a":[[[')).toBeUndefined();
  });

  it('is valid or has issues, for any body', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (body) => {
        const validationBody = getValidationBody(body);
        if (validationBody !== undefined) expect(JSON.parse(validationBody).detail.length).toBeGreaterThan(0);
      }),
    );
  });
});
