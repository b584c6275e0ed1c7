import { describe, expect, it } from 'vitest';
import { CallsInProgress } from '../../src/gateway/calls-in-progress.js';
import type { ModelCall } from '../../src/gateway/model-call.js';

function addCalls(names: string): { calls: CallsInProgress; added: Map<string, ModelCall> } {
  const calls = new CallsInProgress();
  const added = new Map([...names].map((model) => [model, { model, position: 0 } as ModelCall]));
  for (const call of added.values()) calls.add(call);
  return { calls, added };
}

describe('CallsInProgress', () => {
  it.each(['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])(
    'has the calls that remain when they end in the order %s',
    (order) => {
      const { calls, added } = addCalls('abc');
      const remaining = new Set('abc');
      for (const model of order) {
        calls.remove(added.get(model) as ModelCall);
        remaining.delete(model);
        expect(new Set([...calls].map((call) => call.model))).toEqual(remaining);
      }
    },
  );
});
