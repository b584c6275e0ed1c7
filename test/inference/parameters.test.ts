import { describe, expect, it } from 'vitest';
import { toParameters, toParametersMessage } from '../../src/inference/parameters.js';

describe('parameters', () => {
  it('survive a round trip', () => {
    const parameters = { flag: false, text: '', whole: -7, float: 0.5, large: 2n ** 62n, unsigned: 2n ** 64n - 1n };
    expect({ ...toParameters(toParametersMessage(parameters)) }).toEqual(parameters);
  });

  it('are refused with their name if the protocol cannot carry them', () => {
    expect(() => toParametersMessage({ seed: 2n ** 65n })).toThrow('parameter "seed"');
    expect(() => toParametersMessage({ seed: null as never })).toThrow('parameter "seed"');
  });

  it('can send an integer as a double', () => {
    expect(toParametersMessage({ t: { double: 1 } }).get('t')?.parameterChoice).toEqual({
      $case: 'doubleParam',
      value: 1,
    });
  });

  it('without a value are omitted', () => {
    expect({ ...toParameters(new Map([['a', { parameterChoice: undefined }]])) }).toEqual({});
  });
});
