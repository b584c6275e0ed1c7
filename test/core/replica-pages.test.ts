import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asReplicaId, type ReplicaId } from '../../src/core/ids.js';
import type { Registration } from '../../src/core/replica.js';
import { ReplicaPages } from '../../src/core/replica-pages.js';
import { registration, replica } from '../support/replicas.js';

const FULL = 128;

function filled(count: number): ReplicaPages {
  const pages = new ReplicaPages();
  for (let n = 0; n < count; n++) pages.put(registration(`lease-${n}`, replica(`r${n}`)));
  return pages;
}

describe('replica pages', () => {
  it('have the same content and order as a Map over random changes', () => {
    const change = fc.record({
      kind: fc.constantFrom('put' as const, 'delete' as const, 'deleteMany' as const),
      n: fc.integer({ min: 0, max: 600 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), fc.integer({ min: 0, max: 600 }), (changes, count) => {
        const pages = filled(count);
        const oracle = new Map<ReplicaId, Registration>(
          pages
            .pages()
            .flatMap(({ registrations }) => registrations)
            .map((one) => [one.replica.id, one]),
        );
        for (const [at, { kind, n }] of changes.entries()) {
          const one = registration(`again-${at}`, replica(`r${n}`));
          if (kind === 'put') {
            pages.put(one);
            oracle.set(one.replica.id, one);
          }
          for (let m = n; kind !== 'put' && m < n + (kind === 'delete' ? 1 : 100); m++) {
            pages.delete(asReplicaId(`r${m}`));
            oracle.delete(asReplicaId(`r${m}`));
          }
          expect(pages.size).toBe(oracle.size);
          expect(pages.get(one.replica.id)).toBe(oracle.get(one.replica.id));
          expect([...pages.all()]).toEqual([...oracle.values()]);
          expect(pages.pages().flatMap(({ registrations }) => registrations)).toEqual([...oracle.values()]);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('reuse unchanged pages, and never modify a page that was returned', () => {
    const pages = filled(3 * FULL);
    const before = pages.pages().map(({ registrations }) => registrations);
    const shown = before.map((page) => [...page]);
    expect(before.map((page) => page.length)).toEqual([FULL, FULL, FULL]);
    pages.put(registration('again', replica('r0')));
    pages.delete(asReplicaId(`r${FULL}`));
    const after = pages.pages().map(({ registrations }) => registrations);
    expect(after[2]).toBe(before[2]);
    expect([after[0]?.[0]?.lease, after[1]?.length]).toEqual(['again', FULL - 1]);
    expect(before).toEqual(shown);
  });

  it('keep the cache key of a page with few changes after its last snapshot, and of no other', () => {
    const pages = filled(2 * FULL);
    const changed = (count: number): boolean[] => {
      const before = pages.pages();
      for (let n = 0; n < count; n++) pages.put(registration(`again-${n}`, replica(`r${n}`)));
      const after = pages.pages();
      return after.map(({ cacheKey }, at) => cacheKey === before[at]?.cacheKey);
    };
    expect(changed(1)).toEqual([true, true]);
    expect([...Array(9)].map(() => changed(FULL / 8 - 1))).toEqual(Array(9).fill([true, true]));
    expect(changed(FULL / 8)).toEqual([false, true]);
  });

  it('do not count all() as a snapshot: the cache key still changes after many changes', () => {
    const pages = filled(FULL);
    const [before] = pages.pages();
    for (let n = 0; n < FULL / 8; n++) {
      pages.put(registration(`again-${n}`, replica(`r${n}`)));
      expect([...pages.all()]).toHaveLength(FULL);
    }
    expect(pages.pages()[0]?.cacheKey).not.toBe(before?.cacheKey);
  });

  it('are at most four times as many as needed, even after many deletions', () => {
    const pages = filled(100 * FULL);
    for (let n = 0; n < 100 * FULL; n++) if (n % 50 !== 0) pages.delete(asReplicaId(`r${n}`));
    expect(pages.size).toBe(256);
    expect(pages.pages().length).toBeLessThanOrEqual(8);
    for (let n = 0; n < 100 * FULL; n++) pages.delete(asReplicaId(`r${n}`));
    expect(pages.pages()).toEqual([]);
  });
});
