import { describe, expect, it } from 'vitest';
import type { InferenceResponse, Tensor } from '../../src/inference/inference-data.js';
import { concatTextResponses, createTextReader, findTextOutput } from '../../src/inference/text-response.js';

const utf8 = new TextEncoder();

function bytes(...elements: (string | Uint8Array)[]): Tensor {
  const data = elements.map((element) => (typeof element === 'string' ? utf8.encode(element) : element));
  return { datatype: 'BYTES', shape: [data.length], data };
}

const score: Tensor = { datatype: 'FP32', shape: [1], data: Float32Array.of(0.5) };

function part(outputs: Record<string, Tensor>, parameters = {}): InferenceResponse {
  return { model: 'm', version: '1', id: 'q', outputs, parameters };
}

describe('the text of a response', () => {
  it('is the BYTES output text, else text_output, else the only output if it is BYTES', () => {
    expect(findTextOutput({ score, text_output: bytes('b'), text: bytes('a') })).toBe('text');
    expect(findTextOutput({ text: score, text_output: bytes('b') })).toBe('text_output');
    expect(findTextOutput({ said: bytes('a') })).toBe('said');
    expect(findTextOutput({ said: bytes('a'), score })).toBeUndefined();
    expect(findTextOutput({ text: score })).toBeUndefined();
    expect(findTextOutput({})).toBeUndefined();
  });

  it('is read message by message, even if a character is split between two', () => {
    const read = createTextReader();
    const [first, rest] = [utf8.encode('é').subarray(0, 1), utf8.encode('é').subarray(1)];
    expect(read(part({ text: bytes('caf', first) }))).toBe('caf');
    expect(read(part({ score }))).toBeUndefined();
    expect(read(part({ text: bytes(rest) }))).toBe('é');
    expect(read(part({ text: bytes('') }))).toBe('');
  });

  it('is merged into one element, with the outputs and parameters of all messages', () => {
    const joined = concatTextResponses([
      part({ text: bytes('Hel'), score }, { a: 1 }),
      part({ text: bytes('lo'), score }),
      part({}, { a: 2, finish_reason: 'stop' }),
      part({ text: bytes('') }),
    ]);
    expect(joined).toMatchObject({ model: 'm', version: '1', id: 'q', parameters: { a: 2, finish_reason: 'stop' } });
    expect(joined.outputs['text']).toMatchObject({ datatype: 'BYTES', shape: [1] });
    expect(new TextDecoder().decode(joined.outputs['text']?.data[0] as Uint8Array)).toBe('Hello');
    expect(joined.outputs['score']?.data).toEqual(Float32Array.of(0.5, 0.5));
  });

  it('is merged into one element, and so is the reasoning', () => {
    const { outputs } = concatTextResponses([
      part({ text: bytes(''), reasoning: bytes('I ') }),
      part({ text: bytes(''), reasoning: bytes('see') }),
      part({ text: bytes('Yes') }),
      part({ text: bytes(''), tool_calls: bytes('[]') }),
    ]);
    const decoded = Object.entries(outputs).map(([name, { data }]) => [
      name,
      (data as Uint8Array[]).map((element) => new TextDecoder().decode(element)),
    ]);
    expect(Object.fromEntries(decoded)).toEqual({ text: ['Yes'], reasoning: ['I see'], tool_calls: ['[]'] });
  });

  it('keeps its shape if there is only one message', () => {
    const whole = part({ text_output: { ...bytes('Hi'), shape: [1, 1] } });
    expect(concatTextResponses([whole]).outputs['text_output']?.shape).toEqual([1, 1]);
    expect(concatTextResponses([part({ text: bytes() })]).outputs['text']?.data).toEqual([Buffer.alloc(0)]);
  });
});
