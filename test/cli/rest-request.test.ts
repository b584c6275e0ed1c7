import { describe, expect, it } from 'vitest';
import { parseRestRequest } from '../../src/cli/rest-request.js';
import { tensorToJson } from '../../src/inference/tensor-json.js';
import { parseJson } from '../../src/json/exact-json.js';
import type { JsonObject } from '../../src/json/json-value.js';

const read = (text: string) => parseRestRequest('--inputs x.json', parseJson(text) as JsonObject);
const input = (more: string) => `{"name":"a","datatype":"INT32","shape":[1],"data":[1]${more}}`;

describe('parseRestRequest', () => {
  it('reads the parameters of the request, its inputs and its outputs', () => {
    const { inputs, outputs, parameters } = read(
      `{"parameters":{"p":1},"inputs":[${input(',"parameters":{"content_type":"np","scale":0.5}')}],` +
        '"outputs":[{"name":"o"},{"name":"c","parameters":{"classification":3}}]}',
    );
    expect(parameters).toEqual({ p: 1n });
    expect(inputs[0]?.[1].parameters).toEqual({ content_type: 'np', scale: { double: 0.5 } });
    expect(outputs).toEqual([
      { name: 'o', parameters: undefined },
      { name: 'c', parameters: { classification: 3n } },
    ]);
  });

  it('reports parameters that cannot be sent', () => {
    expect(() => read(`{"inputs":[${input(',"parameters":[]')}]}`)).toThrow(
      '--inputs x.json: input "a": parameters are not an object',
    );
    expect(() => read(`{"inputs":[${input(',"parameters":{"x":[1]}')}]}`)).toThrow('parameter "x" is not a boolean');
  });

  it('reads the format that tensorToJson writes', () => {
    const [[name, tensor] = ['', undefined]] = read(`{"inputs":[${input(',"parameters":{"k":"v"}')}]}`).inputs;
    const written = tensorToJson(name, tensor as never) as ReadonlyMap<string, unknown>;
    expect(written.get('parameters')).toEqual(new Map([['k', 'v']]));
  });
});
