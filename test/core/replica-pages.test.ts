import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asReplicaId, type ReplicaId } from '../../src/core/ids.js';
import type { Registration } from '../../src/core/replica.js';
import { ReplicaPages } from '../../src/core/replica-pages.js';
import { registration, replica } from '../support/replicas.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

const FULL = 128;

function createFilledPages(count: number): ReplicaPages {
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
        const pages = createFilledPages(count);
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
    const pages = createFilledPages(3 * FULL);
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

  it('keep their ids, and the revisions of registrations that did not change', () => {
    const pages = createFilledPages(2 * FULL);
    const before = pages.pages();
    pages.put(registration('again', replica('r1')));
    pages.delete(asReplicaId('r3'));
    const after = pages.pages();
    expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id));
    const [old = [], other] = before.map(({ revisions }) => revisions);
    expect(after[0]?.revisions).toEqual([old[0], 2 * FULL + 1, old[2], ...old.slice(4)]);
    expect(after[1]?.revisions).toBe(other);
  });

  it('have a revision for each registration, which no other one ever had, also after pages are merged', () => {
    const pages = createFilledPages(4 * FULL);
    const seen = new Map<number, Registration>();
    const check = (): void => {
      for (const { registrations, revisions } of pages.pages()) {
        expect(revisions.length).toBe(registrations.length);
        for (const [at, revision] of revisions.entries()) {
          expect(seen.get(revision) ?? registrations[at]).toBe(registrations[at]);
          seen.set(revision, registrations[at] as Registration);
        }
      }
    };
    check();
    for (let n = 0; n < 4 * FULL; n++) {
      if (n % 7 === 0) pages.put(registration('again', replica(`r${n}`)));
      else pages.delete(asReplicaId(`r${n}`));
    }
    check();
    expect(pages.pages().length).toBeLessThan(4);
    expect(new Set(pages.pages().map(({ id }) => id)).size).toBe(pages.pages().length);
    expect(seen.size).toBe(4 * FULL + Math.ceil((4 * FULL) / 7));
  });

  it('take no memory for registrations that left, even if no snapshot is taken', () => {
    const pages = createFilledPages(1);
    const bytes = measureRetainedBytes(() => {
      for (let n = 1; n < 100_000; n++) {
        pages.put(registration('short', replica(`r${n}`)));
        pages.delete(asReplicaId(`r${n}`));
      }
      return pages;
    });
    expect(bytes).toBeLessThan(100_000);
    expect(pages.pages().map(({ registrations }) => registrations.length)).toEqual([1]);
  });

  it('are at most four times as many as needed, even after many deletions', () => {
    const pages = createFilledPages(100 * FULL);
    for (let n = 0; n < 100 * FULL; n++) if (n % 50 !== 0) pages.delete(asReplicaId(`r${n}`));
    expect(pages.size).toBe(256);
    expect(pages.pages().length).toBeLessThanOrEqual(8);
    for (let n = 0; n < 100 * FULL; n++) pages.delete(asReplicaId(`r${n}`));
    expect(pages.pages()).toEqual([]);
  });
});
