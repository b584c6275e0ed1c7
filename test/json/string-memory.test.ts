import { describe, expect, it } from 'vitest';
import { parseRegistration } from '../../src/api/registration.js';
import { detachString, detachStrings, internString } from '../../src/json/string-memory.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

const COUNT = 100;
const BODY_BYTES = 50_000;

/** Creates a body that only strings parsed from it can keep in memory. */
const createBody = (n: number): string =>
  JSON.stringify({
    replica_id: `a-replica-with-a-long-name-${n}`,
    endpoint: 'h:1',
    capabilities: [{ [`a-rather-long-key-${n}`]: `a-rather-long-value-${n}`, rest: ['x'.repeat(BODY_BYTES)] }],
  });

const measureKept = (read: (body: string, n: number) => unknown): number =>
  measureRetainedBytes(() => Array.from({ length: COUNT }, (_, n) => read(createBody(n), n)));

describe('a detached string', () => {
  it('equals the original', () => {
    for (const text of ['', 'a', 'ü "\\ \u0000', '\ud800', '😀'.repeat(100)]) {
      expect(detachString(text)).toBe(text);
      expect(detachStrings([text, 'b'])).toEqual([text, 'b']);
    }
  });

  it.each<[string, (body: string, n: number) => unknown]>([
    ['a substring', (text) => detachString(text.slice(2, 40))],
    ['substrings', (text) => detachStrings([text.slice(2, 40), text.slice(3, 41)])],
    ['an interned string', (text) => internString(text.slice(-BODY_BYTES - 60, -BODY_BYTES - 20))],
    [
      'the id of a replica that registers',
      (text) => {
        const outcome = parseRegistration(text);
        return outcome.kind === 'registration' && outcome.replica.id;
      },
    ],
    [
      'the pairs of its capability',
      (text) => {
        const outcome = parseRegistration(text);
        return outcome.kind === 'registration' && outcome.replica.capabilities.map(({ pairs }) => pairs);
      },
    ],
  ])('does not keep the body in memory: %s', (_what, read) => {
    expect(measureKept((text) => text.slice(2, 40))).toBeGreaterThan(COUNT * BODY_BYTES * 0.9);
    expect(measureKept(read)).toBeLessThan(COUNT * BODY_BYTES * 0.1);
  });
});
