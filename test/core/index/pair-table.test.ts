import fc from 'fast-check';
import { expect, it } from 'vitest';
import { PairTable } from '../../../src/core/index/pair-table.js';
import { expectLinearTime } from '../../support/cpu-cost.js';

it('gives each pair in use a unique number', () => {
  const pair = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2', '3'), fc.boolean());
  fc.assert(
    fc.property(fc.array(pair, { minLength: 50, maxLength: 80 }), (steps) => {
      const table = new PairTable();
      const used = new Map<string, number[]>();
      for (const [key, value, isLeaving] of steps) {
        const uses = used.get(`${key}=${value}`) ?? [];
        used.set(`${key}=${value}`, uses);
        if (!isLeaving) uses.push(...table.useAll([key, value]));
        else if (uses.length > 0) expect(table.release(uses.pop() as number)).toBe(uses.length === 0);
        const inUse = [...used].filter(([, numbers]) => numbers.length > 0);
        for (const [name, [number]] of used) {
          const [one = '', other = ''] = name.split('=');
          expect(table.find(one, other)).toBe(number);
        }
        expect(new Set(inUse.map(([, [number]]) => number)).size).toBe(inUse.length);
      }
    }),
  );
});

it('releases pairs with one value and many keys in linear time, in the order of their registration', () => {
  expectLinearTime((length) => {
    const keys = Array.from({ length }, (_, at) => `key${at}`);
    return () => {
      const table = new PairTable();
      const numbers = keys.flatMap((key) => table.useAll([key, '1']));
      for (const number of numbers) table.release(number);
    };
  }, 16 * 1024);
});
