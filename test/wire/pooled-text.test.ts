import { expect, it } from 'vitest';
import { pooledText } from '../../src/wire/pooled-text.js';

it('a text from the pool is the one that was asked for, however many there are', () => {
  for (let n = 0; n < 25_000; n++) {
    const text = `${n} ü "\\ \ud800 of a text`;
    expect(pooledText(text)).toBe(text);
    expect(pooledText(text)).toBe(text);
  }
});
