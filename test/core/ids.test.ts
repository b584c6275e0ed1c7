import { expect, it } from 'vitest';
import { isLongerThan } from '../../src/core/ids.js';

it('counts the length of a text in UTF-8 bytes', () => {
  for (const character of ['a', 'é', '€', '😀']) {
    const text = character.repeat(30);
    const bytes = Buffer.byteLength(text);
    expect([isLongerThan(bytes - 1, text), isLongerThan(bytes, text)]).toEqual([true, false]);
  }
});
