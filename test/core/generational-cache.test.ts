import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GenerationalCache } from '../../src/core/generational-cache.js';
import { collectGarbage, measureRetainedBytes } from '../support/retained-memory.js';

const MOST = 8;
const KEYS = 20;

describe('a generational cache', () => {
  it('returns the latest value or nothing, and never evicts the most recently used half', () => {
    const step = fc.record({ key: fc.nat(KEYS - 1), isSet: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const map = new GenerationalCache<number, number>(MOST);
        const told = new Map<number, number>();
        let used: number[] = [];
        for (const [n, { key, isSet }] of steps.entries()) {
          const isRecent = used.slice(0, MOST / 2).includes(key);
          const found = map.get(key);
          expect(found === undefined ? isRecent : found !== told.get(key)).toBe(false);
          if (isSet) {
            map.set(key, n);
            told.set(key, n);
          }
          if (isSet || found !== undefined) used = [key, ...used.filter((other) => other !== key)];
        }
      }),
    );
  });

  it('never exceeds its maximum size', async () => {
    const map = new GenerationalCache<number, object>(MOST);
    const values: WeakRef<object>[] = [];
    const countKept = async (): Promise<number> => {
      await new Promise((resolve) => void setImmediate(resolve));
      collectGarbage();
      return values.filter((value) => value.deref()).length;
    };
    let most = 0;
    for (let n = 0; n < 3 * MOST; n++) {
      const value = {};
      values.push(new WeakRef(value));
      map.set(n, value);
      map.get(n - (n % (MOST - 1)));
      most = Math.max(most, await countKept());
    }
    expect(most).toBe(MOST);
  });

  it('keeps entries in regular use while many others are added', () => {
    const map = new GenerationalCache<string, string>(100);
    map.set('hot', 'kept');
    for (let n = 0; n < 10_000; n++) {
      map.set(`cold ${n}`, '');
      if (n % 40 === 0) expect(map.get('hot')).toBe('kept');
    }
    expect(map.get('cold 0')).toBeUndefined();
  });

  it('keeps the keys passed to set, not those passed to get', () => {
    const LONG = 100_000;
    const keys = Array.from({ length: 30 }, (_, n) => `a key that is a part ${n}`);
    const bytes = measureRetainedBytes(() => {
      const map = new GenerationalCache<string, boolean>(100);
      for (const key of keys) map.set(key, true);
      for (let n = 0; n < 25; n++) map.set(`another ${n}`, true);
      for (const key of keys) expect(map.get(`${key}${'x'.repeat(LONG)}`.slice(0, key.length))).toBe(true);
      return map;
    });
    expect(bytes).toBeLessThan(keys.length * LONG * 0.1);
  });
});
