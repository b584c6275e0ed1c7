import { expect, it } from 'vitest';
import { OwnInstance } from '../../src/client/own-instance.js';
import { asInstanceId } from '../../src/core/ids.js';

const a = (startedMs = 1) => new OwnInstance(asInstanceId('a'), startedMs);
const b = (startedMs = 1) => new OwnInstance(asInstanceId('b'), startedMs);

it('numbers its registrations and changes', () => {
  const instance = a();
  expect([instance.nextSeq().seq, instance.nextSeq().seq, instance.seq]).toEqual([1, 2, 2]);
});

it('gives the id up to a process that it has not replaced anywhere, and to one that does not report itself', () => {
  expect(a(9).keepsIdAgainst(b(1))).toBe(false);
  expect(a(9).keepsIdAgainst(undefined)).toBe(false);
});

it('keeps the id after mutual takeovers only if it started later, or has the greater id', () => {
  for (const [first, second, keeps] of [
    [a(2), b(1), [true, false]],
    [a(1), b(2), [false, true]],
    [a(1), b(1), [false, true]],
  ] as const) {
    first.recordReplaced(second);
    second.recordReplaced(first);
    expect([first.keepsIdAgainst(second), second.keepsIdAgainst(first)]).toEqual(keeps);
  }
});
