import { describe, expect, it } from 'vitest';
import type { InferenceResponse, Tensor } from '../../src/inference/inference-data.js';
import { concatTextResponses, createTextReader, findTextOutput } from '../../src/inference/text-response.js';

const utf8 = new TextEncoder();

function toBytes(...elements: (string | Uint8Array)[]): Tensor {
  const data = elements.map((element) => (typeof element === 'string' ? utf8.encode(element) : element));
  return { datatype: 'BYTES', shape: [data.length], data };
}

const score: Tensor = { datatype: 'FP32', shape: [1], data: Float32Array.of(0.5) };

function createPart(outputs: Record<string, Tensor>, parameters = {}): InferenceResponse {
  return { model: 'm', version: '1', id: 'q', outputs, parameters };
}

describe('the text of a response', () => {
  it('is the BYTES output text, else text_output, else the only output if it is BYTES', () => {
    expect(findTextOutput({ score, text_output: toBytes('b'), text: toBytes('a') })).toBe('text');
    expect(findTextOutput({ text: score, text_output: toBytes('b') })).toBe('text_output');
    expect(findTextOutput({ said: toBytes('a') })).toBe('said');
    expect(findTextOutput({ said: toBytes('a'), score })).toBeUndefined();
    expect(findTextOutput({ text: score })).toBeUndefined();
    expect(findTextOutput({})).toBeUndefined();
  });

  it('is read message by message, even if a character is split between two', () => {
    const read = createTextReader();
    const [first, rest] = [utf8.encode('é').subarray(0, 1), utf8.encode('é').subarray(1)];
    expect(read(createPart({ text: toBytes('caf', first) }))).toBe('caf');
    expect(read(createPart({ score }))).toBeUndefined();
    expect(read(createPart({ text: toBytes(rest) }))).toBe('é');
    expect(read(createPart({ text: toBytes('') }))).toBe('');
  });

  it('is merged into one element, with the outputs and parameters of all messages', () => {
    const joined = concatTextResponses([
      createPart({ text: toBytes('Hel'), score }, { a: 1 }),
      createPart({ text: toBytes('lo'), score }),
      createPart({}, { a: 2, finish_reason: 'stop' }),
      createPart({ text: toBytes('') }),
    ]);
    expect(joined).toMatchObject({ model: 'm', version: '1', id: 'q', parameters: { a: 2, finish_reason: 'stop' } });
    expect(joined.outputs['text']).toMatchObject({ datatype: 'BYTES', shape: [1] });
    expect(new TextDecoder().decode(joined.outputs['text']?.data[0] as Uint8Array)).toBe('Hello');
    expect(joined.outputs['score']?.data).toEqual(Float32Array.of(0.5, 0.5));
  });

  it('is merged into one element, and so is the reasoning', () => {
    const { outputs } = concatTextResponses([
      createPart({ text: toBytes(''), reasoning: toBytes('I ') }),
      createPart({ text: toBytes(''), reasoning: toBytes('see') }),
      createPart({ text: toBytes('Yes') }),
      createPart({ text: toBytes(''), tool_calls: toBytes('[]') }),
    ]);
    const decoded = Object.entries(outputs).map(([name, { data }]) => [
      name,
      (data as Uint8Array[]).map((element) => new TextDecoder().decode(element)),
    ]);
    expect(Object.fromEntries(decoded)).toEqual({ text: ['Yes'], reasoning: ['I see'], tool_calls: ['[]'] });
  });

  it('keeps its shape if there is only one message', () => {
    const whole = createPart({ text_output: { ...toBytes('Hi'), shape: [1, 1] } });
    expect(concatTextResponses([whole]).outputs['text_output']?.shape).toEqual([1, 1]);
    expect(concatTextResponses([createPart({ text: toBytes() })]).outputs['text']?.data).toEqual([Buffer.alloc(0)]);
  });
});
