import { describe, expect, it } from 'vitest';
import { toParameters, toParametersMessage } from '../../src/inference/parameters.js';

describe('parameters', () => {
  it('come back as they were', () => {
    const parameters = { flag: false, text: '', whole: -7, float: 0.5, large: 2n ** 62n, unsigned: 2n ** 64n - 1n };
    expect({ ...toParameters(toParametersMessage(parameters)) }).toEqual(parameters);
  });

  it('that the protocol cannot carry are refused by name', () => {
    expect(() => toParametersMessage({ seed: 2n ** 65n })).toThrow('parameter "seed"');
    expect(() => toParametersMessage({ seed: null as never })).toThrow('parameter "seed"');
  });

  it('say so when a whole number is a double', () => {
    expect(toParametersMessage({ t: { double: 1 } }).get('t')?.parameterChoice).toEqual({
      $case: 'doubleParam',
      value: 1,
    });
  });

  it('without a value are left out', () => {
    expect({ ...toParameters(new Map([['a', { parameterChoice: undefined }]])) }).toEqual({});
  });
});
