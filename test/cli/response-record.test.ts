import { describe, expect, it } from 'vitest';
import { ResponseRecord } from '../../src/cli/response-record.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { InferenceResponse, Parameters } from '../../src/inference/inference-data.js';
import { serializeJson } from '../../src/json/json-value.js';
import { ManualClock } from '../support/manual-clock.js';

function textPart(text: string, parameters: Parameters = {}): InferenceResponse {
  const data = [new TextEncoder().encode(text)];
  return { model: 'm', version: '', id: '', outputs: { text: { datatype: 'BYTES', shape: [1], data } }, parameters };
}

const integerResponse: InferenceResponse = {
  model: 'm',
  version: '',
  id: '',
  outputs: { n: { datatype: 'INT32', shape: [1], data: Int32Array.of(7) } },
  parameters: {},
};

const toJson = (record: ResponseRecord, replica = {}) => JSON.parse(serializeJson(record.toJson(replica as never)));

describe('ResponseRecord', () => {
  it('has the text, the finish reason, the time to the first token and the total time', () => {
    const clock = new ManualClock();
    const record = new ResponseRecord(clock, true);
    clock.advance(10);
    expect(record.add(textPart(''))).toBe('');
    clock.advance(2.34);
    expect(record.add(textPart('Hel'))).toBe('Hel');
    clock.advance(20);
    record.add(textPart('lo'));
    record.add(textPart('', { finish_reason: 'length', prompt_tokens: 3, total_tokens: 5 }));
    clock.advance(1);
    expect(record.text).toBe('Hello');
    expect(toJson(record, { endpoint: 'a:1', replicaId: asReplicaId('r1') })).toEqual({
      model_name: 'm',
      parameters: { finish_reason: 'length', prompt_tokens: 3, total_tokens: 5 },
      outputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['Hello'] }],
      text: 'Hello',
      finish_reason: 'length',
      usage: { prompt_tokens: 3, total_tokens: 5 },
      replica: { replica_id: 'r1', endpoint: 'a:1' },
      latency_ms: { first_token: 12.3, total: 33.3 },
    });
  });

  it('omits fields without a value', () => {
    const clock = new ManualClock();
    const record = new ResponseRecord(clock, true);
    record.add(textPart(''));
    clock.advance(5);
    const json = toJson(record, { endpoint: 'a:1' });
    expect(json).toMatchObject({ text: '', replica: { replica_id: null }, latency_ms: { total: 5 } });
    expect(Object.keys(json)).toEqual(['model_name', 'outputs', 'text', 'replica', 'latency_ms']);
  });

  it('has no text for other responses', () => {
    const clock = new ManualClock();
    for (const isText of [true, false]) {
      const record = new ResponseRecord(clock, isText);
      record.add(integerResponse);
      expect(record.text).toBeUndefined();
      expect(Object.keys(toJson(record))).toEqual(['model_name', 'outputs', 'replica', 'latency_ms']);
    }
    const texts = new ResponseRecord(clock, false);
    const data = ['a', 'b'].map((text) => new TextEncoder().encode(text));
    texts.add({ ...integerResponse, outputs: { text: { datatype: 'BYTES', shape: [2], data } } });
    expect(toJson(texts).outputs[0].data).toEqual(['a', 'b']);
  });

  it('throws for a response without messages', () => {
    expect(() => new ResponseRecord(new ManualClock(), true).toJson({ endpoint: 'a:1', replicaId: undefined })).toThrow(
      'a:1: the response has no messages',
    );
  });
});
