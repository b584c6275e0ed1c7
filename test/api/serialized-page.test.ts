import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { serializeRegistryResponse } from '../../src/api/api-responses.js';
import { PageSerializer, serializePage } from '../../src/api/serialized-page.js';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { Registration, ReplicaState } from '../../src/core/replica.js';
import { ReplicaPages } from '../../src/core/replica-pages.js';
import { listPage, registration, serializedReplica } from '../support/replicas.js';
import { collectGarbage } from '../support/retained-memory.js';

type Registered = Registration<SerializedReplica>;

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
function createRegistered(n: number, model: string): { one: Registered; plain: object } {
  const one = registration(`lease-${n}`, serializedReplica(`${n % 10 === 0 ? 'ü' : 'r'}${n}`, { model }));
  const { id, endpoint } = one.replica;
  return { one, plain: { replica_id: id, endpoint, capabilities: [{ model }] } };
}

/** Creates a page, and counts how often the replica of each registration is read. */
function createWatchedPage(count: number): { page: Registered[]; looks: number[] } {
  const looks: number[] = [];
  const page = Array.from({ length: count }, (_, n) => {
    const { replica: of, ...rest } = registration(`lease-${n}`, serializedReplica(`r${n}`));
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
  it('returns the bytes of JSON.stringify after any changes, even for readers of an older list', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 5, maxLength: 40 }), (changes) => {
        const pages = new ReplicaPages<SerializedReplica>();
        const serializer = new PageSerializer();
        const plain = new Map<number, { state: ReplicaState; plain: object }>();
        const serializePlain = (): string =>
          JSON.stringify({
            replicas: [...plain.values()]
              .filter(({ state }) => state === 'ready' || state === 'suspect')
              .map((entry) => entry.plain),
          });
        const read: { parts: Iterable<Buffer>; expected: string }[] = [];
        const current = new Map<number, Registered>();
        const put = (n: number, { one, plain: entry }: ReturnType<typeof createRegistered>): void => {
          pages.put(one);
          current.set(n, one);
          plain.set(n, { state: one.state, plain: entry });
        };
        for (let n = 0; n < COUNT; n++) put(n, createRegistered(n, 'm'));
        for (const { kind, n: from, count, every, state, model } of changes) {
          if (kind === 'ask') {
            const parts = [...serializeRegistryResponse(pages.pages(), serializer)];
            expect(Buffer.concat(parts).toString()).toBe(serializePlain());
            read.push({ parts, expected: serializePlain() });
            continue;
          }
          if (kind === 'askSlowly') {
            // Starts to read the list. The rest is serialized after all later changes.
            const parts = serializeRegistryResponse(pages.pages(), serializer);
            const begun = [parts.next().value as Buffer, parts.next().value as Buffer];
            read.push({
              parts: (function* () {
                yield* begun;
                yield* parts;
              })(),
              expected: serializePlain(),
            });
            continue;
          }
          for (let n = from, done = 0; done < count; n = (n + every) % COUNT, done++) {
            const before = current.get(n);
            if (kind === 'put') put(n, createRegistered(n, model));
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
        expect(Buffer.concat([...serializeRegistryResponse(pages.pages(), serializer)]).toString()).toBe(
          serializePlain(),
        );
        for (const { parts, expected } of read) expect(Buffer.concat([...parts]).toString()).toBe(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('reads only the registrations that are new', () => {
    const { page, looks } = createWatchedPage(6);
    const before = serializePage(listPage(page));
    expect(looks).toEqual([1, 1, 1, 1, 1, 1]);
    const [first, , third, fourth, fifth, sixth] = page as [Registered, ...Registered[]];
    const one = registration('again', serializedReplica('r1', { model: 'é' }));
    const pages = [
      { registrations: [first, one, third, fourth, fifth, sixth], revisions: [0, 6, 2, 3, 4, 5] },
      { registrations: [one, third, sixth], revisions: [6, 2, 5] },
      { registrations: [one, third, sixth, one], revisions: [6, 2, 5, 7] },
    ] as { registrations: Registered[]; revisions: number[] }[];
    let previous = before;
    const serialized = pages.map((changed) => (previous = serializePage(changed, previous)));
    expect(looks).toEqual([1, 1, 1, 1, 1, 1]);
    for (const [at, { bytes, lengths }] of serialized.entries()) {
      const fresh = serializePage(pages[at] as (typeof pages)[0]);
      expect([bytes.toString(), lengths]).toEqual([fresh.bytes.toString(), fresh.lengths]);
    }
  });
});

describe('the page serializer', () => {
  /** Lists the registrations once, and returns weak references to one of them and to its page's bytes. */
  function listOnce(pages: ReplicaPages<SerializedReplica>, serializer: PageSerializer) {
    const [page] = pages.pages();
    const [, bytes] = serializeRegistryResponse(pages.pages(), serializer);
    // The first byte of the page is not sent, so the part is a view of the cached bytes.
    return { registration: new WeakRef(page?.registrations[0] as object), bytes: new WeakRef(bytes?.buffer as object) };
  }

  /** Collects garbage in a later task: until the end of its task, a new WeakRef keeps its target. */
  async function collectLater(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }

  it('returns the same bytes for an unchanged page', () => {
    const serializer = new PageSerializer();
    const page = listPage([registration('l1', serializedReplica('r1'))]);
    expect(serializer.serialize(page)).toBe(serializer.serialize({ ...page }));
  });

  it('keeps no registration in memory, and drops the bytes of a page that the next list does not have', async () => {
    const serializer = new PageSerializer();
    const pages = new ReplicaPages<SerializedReplica>();
    pages.put(registration('l1', serializedReplica('r1')));
    const { registration: departed, bytes } = listOnce(pages, serializer);
    await collectLater();
    expect([departed.deref(), bytes.deref()]).toEqual([expect.anything(), expect.anything()]);
    pages.delete(asReplicaId('r1'));
    await collectLater();
    expect([departed.deref(), bytes.deref()]).toEqual([undefined, expect.anything()]);
    expect(Buffer.concat([...serializeRegistryResponse(pages.pages(), serializer)]).toString()).toBe('{"replicas":[]}');
    await collectLater();
    expect(bytes.deref()).toBeUndefined();
  });
});
