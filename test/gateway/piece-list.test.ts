import { expect, it } from 'vitest';
import { PieceList } from '../../src/gateway/piece-list.js';
import { createSeededRandom } from '../support/seeded-random.js';

function collect(pieces: readonly Buffer[]): PieceList {
  const list = new PieceList();
  for (const piece of pieces) list.add(piece);
  return list;
}

it('joins small pieces, which a sender could make as small as a byte', () => {
  const bytes = Buffer.from('abcdefghij'.repeat(10_000));
  const { pieces } = collect(Array.from(bytes, (byte) => Buffer.of(byte)));
  expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
  expect(pieces.length).toBeLessThan(16);
});

it('does not copy the first piece and large ones', () => {
  const given = [Buffer.from('a'), Buffer.alloc(2000, 'b'), Buffer.alloc(3000, 'c')];
  const { pieces } = collect(given);
  expect(pieces.map((piece, index) => piece === given[index])).toEqual([true, true, true]);
});

it('keeps the order of small and large pieces', () => {
  const random = createSeededRandom(1);
  for (let run = 0; run < 100; run++) {
    const given = Array.from({ length: 50 }, () => {
      const isLarge = random.fraction() < 0.3;
      return Buffer.alloc(Math.floor(random.fraction() * (isLarge ? 5000 : 300)), Math.floor(random.fraction() * 256));
    });
    expect(Buffer.concat(collect(given).pieces).equals(Buffer.concat(given))).toBe(true);
  }
});
