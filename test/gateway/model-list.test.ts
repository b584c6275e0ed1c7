import { expect, it } from 'vitest';
import { ModelList } from '../../src/client/http-calls/model-list.js';
import type { ModelFleet } from '../../src/client/model-fleet.js';

it('the list of models is made once for each kind of caller and list of replicas', () => {
  const state = { snapshot: {}, names: ['b', 'a'], asked: 0 };
  const fleet = {
    get snapshot() {
      return state.snapshot;
    },
    listModels: () => state.names,
  } as unknown as ModelFleet;
  const models = new ModelList(fleet, new Map([['alias', ['a']]]), 5000);
  const list = (callers: string, seen: string): string[] =>
    models
      .list(callers, (name) => {
        state.asked++;
        return seen.includes(name);
      })
      .map(({ id }) => id);
  expect(list('', 'ab')).toEqual(['a', 'alias', 'b']);
  const { asked } = state;
  expect(list('', 'ab')).toEqual(['a', 'alias', 'b']);
  expect(state.asked).toBe(asked);
  expect(list('zone=b', 'b')).toEqual(['b']);
  state.names = ['c'];
  expect(list('', 'abc')).toEqual(['a', 'alias', 'b']);
  state.snapshot = {};
  expect(list('', 'c')).toEqual(['c']);
});
