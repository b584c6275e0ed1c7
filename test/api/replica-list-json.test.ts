import { describe, expect, it } from 'vitest';
import { parseReplicaList, serializeReplicaDetails } from '../../src/api/replica-list-json.js';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { ReplicaLoad } from '../../src/core/load.js';
import type { KnownReplica } from '../../src/core/registry.js';
import { registration, serializedReplica } from '../support/replicas.js';

const NOW = { nowMs: 5000, epochMs: 1_700_000_005_000 };

const createKnown = (id: string, lease?: KnownReplica['lease']): KnownReplica<SerializedReplica> => ({
  registration: registration('lease-of-it', serializedReplica(id)),
  lease,
});

const serializeBody = (all: Iterable<KnownReplica<SerializedReplica>>): string =>
  Buffer.concat([...serializeReplicaDetails(all, NOW)]).toString();

describe('the details of replicas', () => {
  it('form one list in any number of chunks, which can be parsed', () => {
    for (const count of [0, 1, 31, 32, 33, 64, 65, 200]) {
      const all = Array.from({ length: count }, (_, n) =>
        createKnown(`r${n}`, { host: 'h', ttlMs: 9000, seenAtMs: 4000, load: undefined }),
      );
      const listed = parseReplicaList(serializeBody(all));
      expect(listed?.map((one) => [one.replica.id, one.state, one.lastSeenAgeMs])).toEqual(
        all.map(({ registration: { replica: of } }) => [of.id, 'ready', 1000]),
      );
    }
  });

  it('have no `last_seen` after `now` if a lease is renewed during serialization', () => {
    const body = JSON.parse(
      serializeBody([createKnown('r1', { host: 'h', ttlMs: undefined, seenAtMs: 5400, load: undefined })]),
    );
    expect(body.replicas[0].last_seen).toBe(body.now);
  });

  it('have null for a lease that another server holds', () => {
    expect(JSON.parse(serializeBody([createKnown('r1')])).replicas).toMatchObject([
      { peer: null, ttl: null, last_seen: null },
    ]);
  });

  it('are read chunk by chunk', () => {
    let lookedUp = 0;
    function* createMany(): Generator<KnownReplica<SerializedReplica>> {
      for (let n = 0; n < 1000; n++, lookedUp++) yield createKnown(`r${n}`);
    }
    const parts = serializeReplicaDetails(createMany(), NOW);
    parts.next();
    expect(lookedUp).toBe(0);
    parts.next();
    expect(lookedUp).toBeGreaterThan(0);
    expect(lookedUp).toBeLessThan(100);
  });

  it('have the weight only if it is not 1, and a list without it or with an invalid one is read as 1', () => {
    const withWeight = (weight: number): string => {
      const known = createKnown('r1');
      return serializeBody([{ ...known, registration: { ...known.registration, weight } }]);
    };
    expect(withWeight(1)).not.toContain('weight');
    expect(withWeight(7)).toContain(',"weight":7}');
    const readWeight = (body: string) => parseReplicaList(body)?.[0]?.weight;
    expect([readWeight(withWeight(1)), readWeight(withWeight(7))]).toEqual([1, 7]);
    for (const wrong of ['0', '-1', '1e300', '1.5', '"7"', 'null', '1001']) {
      expect([wrong, readWeight(withWeight(7).replace('"weight":7', `"weight":${wrong}`))]).toEqual([wrong, 1]);
    }
  });

  it('have the load if the replica has reported one, and a list with an invalid one is read without', () => {
    const withLoad = (load?: ReplicaLoad): string =>
      serializeBody([createKnown('r1', { host: 'h', ttlMs: 9000, seenAtMs: 4000, load })]);
    expect(withLoad()).not.toContain('load');
    const body = withLoad({ running: 3, waiting: 1, limit: 4 });
    expect(body).toContain(',"load":{"running":3,"waiting":1,"limit":4}}');
    const readLoad = (text: string) => parseReplicaList(text)?.[0]?.load;
    expect(readLoad(withLoad())).toBeUndefined();
    expect(readLoad(body)).toEqual({ running: 3, waiting: 1, limit: 4 });
    expect(readLoad(withLoad({ running: 0, waiting: 0 }))).toEqual({ running: 0, waiting: 0, limit: undefined });
    for (const wrong of ['-1', '1.5', '"3"', 'null', '1e300']) {
      expect([wrong, readLoad(body.replace('"running":3', `"running":${wrong}`))]).toEqual([wrong, undefined]);
    }
  });
});
