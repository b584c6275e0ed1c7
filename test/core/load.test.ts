import { expect, it } from 'vitest';
import { isSameLoad, toLoad } from '../../src/core/load.js';

it('is copied with its own members only, and only if the numbers are integers', () => {
  const load = { running: 1, waiting: 2, limit: 3, other: 4 };
  expect(toLoad(load)).toEqual({ running: 1, waiting: 2, limit: 3 });
  expect(toLoad({ running: 0, waiting: 0 })).toEqual({ running: 0, waiting: 0, limit: undefined });
  expect(toLoad({ running: 0, waiting: 0, limit: null })).toEqual({ running: 0, waiting: 0, limit: undefined });
  for (const wrong of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e10, '1', null, undefined]) {
    expect([wrong, toLoad({ ...load, running: wrong })]).toEqual([wrong, undefined]);
    expect([wrong, toLoad({ ...load, waiting: wrong })]).toEqual([wrong, undefined]);
  }
  for (const wrong of [undefined, null, 5, 'x', []]) expect(toLoad(wrong)).toBeUndefined();
});

it('is the same with the same numbers', () => {
  const load = { running: 1, waiting: 2, limit: 3 };
  expect(isSameLoad(load, { ...load })).toBe(true);
  expect(isSameLoad(undefined, undefined)).toBe(true);
  for (const other of [undefined, { ...load, running: 0 }, { ...load, waiting: 0 }, { running: 1, waiting: 2 }]) {
    expect(isSameLoad(load, other)).toBe(false);
  }
});
