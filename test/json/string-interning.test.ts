import { describe, expect, it } from 'vitest';
import { internString } from '../../src/json/string-memory.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

const BYTES = 250;

describe('an interned string', () => {
  it('equals the original, for any number of strings', () => {
    for (let n = 0; n < 25_000; n++) {
      const text = `${n} ü "\\ \ud800 of a text${n % 1000 === 0 ? 'x'.repeat(1000) : ''}`;
      expect(internString(text)).toBe(text);
      expect(internString(text)).toBe(text);
    }
  });

  it('is stored once, for any number of occurrences', () => {
    const all = measureRetainedBytes(() =>
      Array.from({ length: 50_000 }, (_, n) => internString(`${n % 10}`.padEnd(BYTES))),
    );
    expect(all).toBeLessThan(50_000 * 20);
  });

  it('is stored once while other strings are interned', () => {
    const all = measureRetainedBytes(() =>
      Array.from({ length: 100_000 }, (_, n) => {
        internString(`beside ${n}`);
        return internString(`${n % 1000}`.padEnd(BYTES));
      }),
    );
    expect(all).toBeLessThan(100_000 * 25);
  });

  it.each([
    ['and they are short', BYTES],
    ['and they are long', 10 * BYTES],
  ])('is evicted when there are many others, %s', (_what, bytes) => {
    const all = measureRetainedBytes(() => {
      for (let n = 0; n < 100_000; n++) internString(`${n}`.padEnd(bytes));
      return [];
    });
    expect(all).toBeLessThan(10_000 * (BYTES + 200));
  });
});
