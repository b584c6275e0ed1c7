import { describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import { CallerKeys } from '../../src/credentials/caller-keys.js';

const ALICE = 'Bearer key-of-alice-1234567';
const BOB = 'Bearer key-of-bob-123456789';
const KEYS = new CallerKeys(['alice key-of-alice-1234567 steer', 'bob key-of-bob-123456789'], 'keys');

/** Sends headers over one connection, and returns the names of the callers. */
function findNames(...requests: readonly (readonly string[])[]): (string | undefined)[] {
  const connection = {};
  return requests.map((authorization) => KEYS.find(authorization, connection)?.name);
}

describe('the keys of callers on one connection', () => {
  it('are found again with each request', () => {
    expect(findNames([ALICE], [ALICE], [BOB], [BOB], [ALICE])).toEqual(['alice', 'alice', 'bob', 'bob', 'alice']);
  });

  it.each([
    ['of the same length', [ALICE.replace('7', '8')]],
    ['that differs at its start', [ALICE.replace('key', 'kez')]],
    ['that is shorter', [ALICE.slice(0, -1)]],
    ['that is longer', [`${ALICE}8`]],
    ['twice', [ALICE, ALICE]],
    ['that is missing', []],
    ['that is empty', ['']],
  ])('do not let another one pass: %s', (_what, other) => {
    expect(findNames([ALICE], other, [ALICE])).toEqual(['alice', undefined, 'alice']);
  });

  it('are not remembered for another connection', () => {
    expect(findNames([ALICE], ['Bearer x'])).toEqual(['alice', undefined]);
    expect(findNames(['Bearer x'], [ALICE])).toEqual([undefined, 'alice']);
  });
});

describe('a file with keys', () => {
  it.each([
    ['an empty selector', ['alice key-of-alice-1234567 where='], 'line 1: its selector is empty; remove "where="'],
    [
      'a blank selector',
      ['', 'alice key-of-alice-1234567 steer where=  '],
      'line 2: its selector is empty; remove "where="',
    ],
    [
      'one key for two callers',
      ['alice key-of-alice-1234567 steer', '# bob', 'bob key-of-alice-1234567 where=team=b'],
      'lines 1 and 3 have the same key; use another one in one of them',
    ],
  ])('is refused with %s', (_what, lines, problem) => {
    expect(() => new CallerKeys(lines, 'keys')).toThrow(new AnyserveError('usage', `keys: ${problem}`));
  });

  it('can have two keys of one caller, so that a key can be replaced', () => {
    const keys = new CallerKeys(['alice key-of-alice-1234567', 'alice key-of-alice-7654321'], 'keys');
    for (const header of [ALICE, 'Bearer key-of-alice-7654321']) expect(keys.find([header], {})?.name).toBe('alice');
  });
});
