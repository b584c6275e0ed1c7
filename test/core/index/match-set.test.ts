import { describe, expect, it } from 'vitest';
import { type Entry, MatchSet, MatchSetGroup } from '../../../src/core/index/match-set.js';
import { createSeededRandom } from '../../support/seeded-random.js';

describe('match sets', () => {
  it('have the same members as plain sets over random changes', () => {
    const random = createSeededRandom(1);
    const drawBelow = (most: number): number => Math.floor(random.fraction() * most);
    const table: Entry[] = Array.from({ length: 12 }, () => ({ objects: [], memberships: [] }));
    const group = new MatchSetGroup(table);
    const sets = Array.from({ length: 6 }, () => new MatchSet(group));
    const plain = sets.map(() => new Set<number>());
    for (let step = 0; step < 20_000; step++) {
      const number = drawBelow(table.length);
      const at = drawBelow(sets.length);
      switch (drawBelow(4)) {
        case 0: {
          MatchSet.removeFromAll(table[number] as Entry);
          const joined = sets.filter(() => drawBelow(2) === 0);
          MatchSet.addToAll(number, table[number] as Entry, joined);
          for (const [n, set] of plain.entries()) {
            if (joined.includes(sets[n] as MatchSet)) set.add(number);
            else set.delete(number);
          }
          break;
        }
        case 1:
          if (plain[at]?.has(number)) break;
          sets[at]?.add(number);
          plain[at]?.add(number);
          break;
        case 2:
          MatchSet.removeFromAll(table[number] as Entry);
          for (const set of plain) set.delete(number);
          break;
        default:
          sets[at]?.clear();
          plain[at]?.clear();
      }
      expect(group.members).toBe(plain.reduce((total, { size }) => total + size, 0));
      for (const [n, set] of sets.entries()) {
        expect([...set.slots].sort()).toEqual([...(plain[n] as Set<number>)].sort());
      }
    }
  });
});
