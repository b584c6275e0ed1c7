import { describe, expect, it } from 'vitest';
import { internString } from '../../src/json/string-memory.js';
import { keptBytes } from '../support/kept-memory.js';

const BYTES = 250;

describe('a text from the pool', () => {
  it('is the one that was asked for, however many there are', () => {
    for (let n = 0; n < 25_000; n++) {
      const text = `${n} ü "\\ \ud800 of a text${n % 1000 === 0 ? 'x'.repeat(1000) : ''}`;
      expect(internString(text)).toBe(text);
      expect(internString(text)).toBe(text);
    }
  });

  it('is kept once, however often it comes', () => {
    const all = keptBytes(() => Array.from({ length: 50_000 }, (_, n) => internString(`${n % 10}`.padEnd(BYTES))));
    expect(all).toBeLessThan(50_000 * 20);
  });

  it('is kept once though others come and go beside it', () => {
    const all = keptBytes(() =>
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
  ])('is forgotten when there are many, %s', (_what, bytes) => {
    const all = keptBytes(() => {
      for (let n = 0; n < 100_000; n++) internString(`${n}`.padEnd(bytes));
      return [];
    });
    expect(all).toBeLessThan(10_000 * (BYTES + 200));
  });
});
