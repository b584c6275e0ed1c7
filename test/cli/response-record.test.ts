import { describe, expect, it } from 'vitest';
import { ResponseRecord } from '../../src/cli/response-record.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { InferenceResponse, Parameters } from '../../src/inference/inference-data.js';
import { serializeJson } from '../../src/json/exact-json.js';
import { ManualClock } from '../support/manual-clock.js';

function textPart(text: string, parameters: Parameters = {}): InferenceResponse {
  const data = [new TextEncoder().encode(text)];
  return { model: 'm', version: '', id: '', outputs: { text: { datatype: 'BYTES', shape: [1], data } }, parameters };
}

const number: InferenceResponse = {
  model: 'm',
  version: '',
  id: '',
  outputs: { n: { datatype: 'INT32', shape: [1], data: Int32Array.of(7) } },
  parameters: {},
};

const shown = (record: ResponseRecord, replica = {}) => JSON.parse(serializeJson(record.json(replica as never)));

describe('the record of an answer', () => {
  it('tells a text, how it ended, and the time to its first token and to its end', () => {
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
    expect(shown(record, { endpoint: 'a:1', replicaId: asReplicaId('r1') })).toEqual({
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

  it('leaves out what is not known', () => {
    const clock = new ManualClock();
    const record = new ResponseRecord(clock, true);
    record.add(textPart(''));
    clock.advance(5);
    const told = shown(record, { endpoint: 'a:1' });
    expect(told).toMatchObject({ text: '', replica: { replica_id: null }, latency_ms: { total: 5 } });
    expect(Object.keys(told)).toEqual(['model_name', 'outputs', 'text', 'replica', 'latency_ms']);
  });

  it('tells other answers as they are', () => {
    const clock = new ManualClock();
    for (const isText of [true, false]) {
      const record = new ResponseRecord(clock, isText);
      record.add(number);
      expect(record.text).toBeUndefined();
      expect(Object.keys(shown(record))).toEqual(['model_name', 'outputs', 'replica', 'latency_ms']);
    }
    const texts = new ResponseRecord(clock, false);
    const data = ['a', 'b'].map((text) => new TextEncoder().encode(text));
    texts.add({ ...number, outputs: { text: { datatype: 'BYTES', shape: [2], data } } });
    expect(shown(texts).outputs[0].data).toEqual(['a', 'b']);
  });

  it('fails for an answer without parts', () => {
    expect(() => new ResponseRecord(new ManualClock(), true).json({ endpoint: 'a:1', replicaId: undefined })).toThrow(
      'a:1: the answer has no parts',
    );
  });
});
