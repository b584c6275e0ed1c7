import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { serializeRegistryResponse } from '../../src/api/api-responses.js';
import { serializePage } from '../../src/api/serialized-page.js';
import type { Registration, ReplicaState } from '../../src/core/replica.js';
import { ReplicaPages } from '../../src/core/replica-pages.js';
import { registration, replica } from '../support/replicas.js';

const COUNT = 400;

const change = fc.record({
  kind: fc.constantFrom('put' as const, 'state' as const, 'delete' as const, 'ask' as const, 'askSlowly' as const),
  n: fc.nat(COUNT - 1),
  /** Number of changed replicas, and the distance between them. Some changes rewrite a page, some hardly touch it. */
  count: fc.constantFrom(1, 1, 3, 20, 100),
  every: fc.constantFrom(1, 2, 7, 50),
  state: fc.constantFrom<ReplicaState>('ready', 'suspect', 'unready', 'draining'),
  model: fc.constantFrom('m', 'a longer one', 'é', '€😀'),
});

/** Creates a registration, and the object that `JSON.stringify` serializes for comparison. */
function registered(n: number, model: string): { one: Registration; plain: object } {
  const one = registration(`lease-${n}`, replica(`${n % 10 === 0 ? 'ü' : 'r'}${n}`, { model }));
  const { id, endpoint } = one.replica;
  return { one, plain: { replica_id: id, endpoint, capabilities: [{ model }] } };
}

/** Creates a page, and counts how often the replica of each registration is read. */
function watched(count: number): { page: Registration[]; looks: number[] } {
  const looks: number[] = [];
  const page = Array.from({ length: count }, (_, n) => {
    const { replica: of, ...rest } = registration(`lease-${n}`, replica(`r${n}`));
    looks.push(0);
    return {
      ...rest,
      get replica() {
        looks[n] = (looks[n] as number) + 1;
        return of;
      },
    };
  });
  return { page, looks };
}

describe('serializePage', () => {
  it('returns the bytes of JSON.stringify after any changes, also for readers of an older list', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 5, maxLength: 40 }), (changes) => {
        const pages = new ReplicaPages();
        const plain = new Map<number, { state: ReplicaState; plain: object }>();
        const listed = (): string =>
          JSON.stringify({
            replicas: [...plain.values()]
              .filter(({ state }) => state === 'ready' || state === 'suspect')
              .map((entry) => entry.plain),
          });
        const read: { parts: Iterable<Buffer>; expected: string }[] = [];
        const current = new Map<number, Registration>();
        const put = (n: number, { one, plain: entry }: ReturnType<typeof registered>): void => {
          pages.put(one);
          current.set(n, one);
          plain.set(n, { state: one.state, plain: entry });
        };
        for (let n = 0; n < COUNT; n++) put(n, registered(n, 'm'));
        for (const { kind, n: from, count, every, state, model } of changes) {
          if (kind === 'ask') {
            const parts = [...serializeRegistryResponse(pages.pages())];
            expect(Buffer.concat(parts).toString()).toBe(listed());
            read.push({ parts, expected: listed() });
            continue;
          }
          if (kind === 'askSlowly') {
            // Starts to read the list. The rest is serialized after all later changes.
            const parts = serializeRegistryResponse(pages.pages());
            const begun = [parts.next().value as Buffer, parts.next().value as Buffer];
            read.push({
              parts: (function* () {
                yield* begun;
                yield* parts;
              })(),
              expected: listed(),
            });
            continue;
          }
          for (let n = from, done = 0; done < count; n = (n + every) % COUNT, done++) {
            const before = current.get(n);
            if (kind === 'put') put(n, registered(n, model));
            else if (kind === 'state' && before) {
              const one = { ...before, state };
              put(n, { one, plain: plain.get(n)?.plain as object });
            } else if (kind === 'delete' && before) {
              pages.delete(before.replica.id);
              current.delete(n);
              plain.delete(n);
            }
          }
        }
        expect(Buffer.concat([...serializeRegistryResponse(pages.pages())]).toString()).toBe(listed());
        for (const { parts, expected } of read) expect(Buffer.concat([...parts]).toString()).toBe(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('reads only the registrations that are new', () => {
    const { page, looks } = watched(6);
    const before = serializePage(page);
    expect(looks).toEqual([1, 1, 1, 1, 1, 1]);
    const [first, , third, fourth, fifth, sixth] = page as [Registration, ...Registration[]];
    const one = registration('again', replica('r1', { model: 'é' }));
    const changed = serializePage([first, one, third, fourth, fifth, sixth] as Registration[], before);
    const left = serializePage([one, third, sixth] as Registration[], changed);
    const grown = serializePage([one, third, sixth, one] as Registration[], left);
    expect(looks).toEqual([1, 1, 1, 1, 1, 1]);
    for (const { bytes, registrations, lengths } of [changed, left, grown]) {
      const fresh = serializePage(registrations);
      expect([bytes.toString(), lengths]).toEqual([fresh.bytes.toString(), fresh.lengths]);
    }
  });
});
