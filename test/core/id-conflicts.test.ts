import { expect, it } from 'vitest';
import { createIdConflicts } from '../../src/core/id-conflicts.js';
import { asReplicaId } from '../../src/core/ids.js';

const r1 = asReplicaId('r1');

it('more than five takeovers of an id within a minute are a conflict, told once', () => {
  const takeovers = createIdConflicts();
  const told = Array.from({ length: 10 }, (_, at) => takeovers.recordTakeover(r1, at * 1000));
  expect(told.indexOf(true)).toBe(5);
  expect(told.filter(Boolean)).toHaveLength(1);
});

it('takeovers of several ids, or over a longer time, are none', () => {
  const takeovers = createIdConflicts();
  const told = Array.from({ length: 40 }, (_, at) => [
    takeovers.recordTakeover(asReplicaId(`other-${at}`), at * 13_000),
    takeovers.recordTakeover(r1, at * 13_000),
  ]).flat();
  expect(told).not.toContain(true);
});
