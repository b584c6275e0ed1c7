import { expect, it } from 'vitest';
import { createIdConflicts } from '../../src/core/id-conflicts.js';
import { asReplicaId } from '../../src/core/ids.js';

const r1 = asReplicaId('r1');

it('reports more than five takeovers of an id within a minute as a conflict, once', () => {
  const conflicts = createIdConflicts();
  const results = Array.from({ length: 10 }, (_, index) => conflicts.recordTakeover(r1, index * 1000));
  expect(results.indexOf(true)).toBe(5);
  expect(results.filter(Boolean)).toHaveLength(1);
});

it('reports no conflict for takeovers of different ids or over a longer time', () => {
  const conflicts = createIdConflicts();
  const results = Array.from({ length: 40 }, (_, index) => [
    conflicts.recordTakeover(asReplicaId(`other-${index}`), index * 13_000),
    conflicts.recordTakeover(r1, index * 13_000),
  ]).flat();
  expect(results).not.toContain(true);
});
