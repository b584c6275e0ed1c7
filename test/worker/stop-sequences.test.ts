import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopSequences } from '../../src/worker/stop-sequences.js';

function given(stops: readonly string[], pieces: readonly string[]): string[] {
  const texts = new StopSequences(stops);
  const parts: string[] = [];
  for (const piece of pieces) if (!texts.isFound) parts.push(texts.push(piece));
  return [...parts, texts.flush()];
}

describe('stop sequences', () => {
  it('are held back until they are complete or ruled out', () => {
    expect(given(['END'], ['a E', 'N', 'D b'])).toEqual(['a ', '', '', '']);
    expect(given(['END'], ['a E', 'N', 'd'])).toEqual(['a ', '', 'ENd', '']);
    expect(given(['END'], ['a E', 'N'])).toEqual(['a ', '', 'EN']);
    expect(given(['aab'], ['aa', 'a', 'b'])).toEqual(['', 'a', '', '']);
    expect(given([], ['a', 'b'])).toEqual(['a', 'b', '']);
  });

  it('end a text at the first one, however it is split', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '😀') });
    fc.assert(
      fc.property(fc.array(letters), letters, (pieces, stop) => {
        fc.pre(stop !== '');
        const text = pieces.join('');
        expect(given([stop], pieces).join('')).toBe(text.split(stop, 1)[0]);
      }),
    );
  });

  it('end a text at the earliest of several in one piece', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 });
    fc.assert(
      fc.property(letters, fc.array(letters, { maxLength: 4 }), (text, texts) => {
        const stops = texts.filter((stop) => stop !== '');
        const earliest = Math.min(text.length, ...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0));
        expect(given(stops, [text]).join('')).toBe(text.slice(0, earliest));
      }),
    );
  });
});
