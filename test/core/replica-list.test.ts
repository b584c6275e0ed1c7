import { describe, expect, it } from 'vitest';
import { createPairs } from '../../src/core/capability.js';
import { asReplicaId, type ReplicaId } from '../../src/core/ids.js';
import { PreparedFilter } from '../../src/core/index/prepared-filter.js';
import { PreparedQuery } from '../../src/core/index/prepared-query.js';
import type { Protocol } from '../../src/core/protocol.js';
import type { ReplicaState } from '../../src/core/replica.js';
import { ReplicaList } from '../../src/core/replica-list.js';
import { NO_EXCLUSIONS } from '../../src/core/routable-replicas.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import {
  drawObjects,
  drawPlainQuery,
  drawSelector,
  matchesPlainly,
  type PlainObject,
  type PlainSelector,
} from '../support/plain-selector.js';
import { prepareQuery, registration, replica, withEndpoint } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

/** A replica of the plain list. */
interface PlainReplica {
  readonly id: ReplicaId;
  readonly protocol: Protocol;
  readonly state: ReplicaState;
  readonly isCordoned: boolean;
  readonly objects: readonly PlainObject[];
}

const IDS = 25;
const STATES: readonly ReplicaState[] = ['ready', 'ready', 'ready', 'suspect', 'unready', 'draining'];

/** The same replicas in a list and as plain objects. */
class TwoLists {
  readonly random = createSeededRandom(7);
  readonly list = new ReplicaList(this.random);
  readonly plain = new Map<ReplicaId, PlainReplica>();

  pick = (bound: number): number => Math.floor(this.random.fraction() * bound);

  drawId(): ReplicaId {
    return asReplicaId(`r${this.pick(IDS)}`);
  }

  /** Puts or removes a replica. One that was there can change its protocol, its state and its capabilities. */
  change(): void {
    const id = this.drawId();
    if (this.pick(4) === 0) {
      this.list.delete(id);
      this.plain.delete(id);
      return;
    }
    const objects = drawObjects(this.pick);
    const protocol = this.pick(2) === 0 ? 'http' : 'grpc';
    const state = STATES[this.pick(STATES.length)] as ReplicaState;
    const isCordoned = this.pick(8) === 0;
    const endpoint = protocol === 'http' ? `http://${id}:8000/v1` : `${id}:50051`;
    const cordon = isCordoned ? { cordoned: true, reason: '', atMs: 1 } : undefined;
    this.list.put({ ...registration('lease', withEndpoint(replica(id, ...objects), endpoint)), state, cordon });
    this.plain.set(id, { id, protocol, state, isCordoned, objects });
  }

  /**
   * Returns the replicas that can be the result, by filters of the plain list, one after the other: protocol, then exclusion,
   * then state.
   */
  filterPlainly(query: PlainObject, selector: PlainSelector, excluded: ReadonlySet<ReplicaId>, protocol?: Protocol) {
    const matching = [...this.plain.values()].filter(
      ({ objects, isCordoned }) => !isCordoned && matchesPlainly(query, selector, objects),
    );
    for (const wanted of protocol ? [protocol] : ['grpc', 'http']) {
      for (const left of [excluded, NO_EXCLUSIONS]) {
        for (const state of ['ready', 'suspect']) {
          const found = matching.filter((one) => one.protocol === wanted && one.state === state && !left.has(one.id));
          if (found.length > 0) return found.map(({ id }) => id);
        }
      }
    }
    return [];
  }

  /** Searches until the result is there. */
  search(filter: PreparedFilter, excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): ReplicaId | undefined {
    for (;;) {
      const result = this.list.search([filter], excluded, protocol);
      if (result.kind !== 'unfinished') return result.kind === 'found' ? result.registration.replica.id : undefined;
    }
  }
}

const NO_TERMS: PlainSelector = { text: '', terms: [] };
const STEPS = 5000;

describe('a choice by protocol', () => {
  it(`agrees with plain filters over ${STEPS} changes`, () => {
    const lists = new TwoLists();
    const { pick } = lists;
    const draw = () => [drawPlainQuery(pick), drawSelector(pick)] as const;
    const recent = Array.from({ length: 40 }, draw);
    const found = { grpc: 0, http: 0, none: 0 };
    for (let step = 0; step < STEPS; step++) {
      lists.change();
      const [query, selector] = pick(4) > 0 ? (recent[pick(recent.length)] as (typeof recent)[0]) : draw();
      const protocol = ([undefined, 'grpc', 'http'] as const)[pick(3)];
      const excluded = new Set(pick(3) === 0 ? [lists.drawId(), lists.drawId()] : []);
      const pairs = createPairs(Object.entries(query));
      const filter = new PreparedFilter({ query: pairs, selector: parseSelector(selector.text, 'selector') });
      const searched = lists.search(filter, excluded, protocol);
      const expected = lists.filterPlainly(query, selector, excluded, protocol);
      const text = `${JSON.stringify(query)} ${selector.text} ${protocol} without ${[...excluded]}`;
      expect(expected.length > 0 ? expected : [undefined], text).toContain(searched);
      const chosen = lists.list.choose(new PreparedQuery(pairs), excluded, protocol)?.replica.id;
      const matching = lists.filterPlainly(query, NO_TERMS, excluded, protocol);
      expect(matching.length > 0 ? matching : [undefined], text).toContain(chosen);
      found[(chosen && lists.plain.get(chosen)?.protocol) ?? 'none']++;
    }
    expect(Math.min(...Object.values(found))).toBeGreaterThan(STEPS / 20);
  });

  it('follows a replica that registers again with an endpoint of the other protocol', () => {
    const list = new ReplicaList(createSeededRandom(1));
    const put = (endpoint: string): void =>
      list.put(registration('lease', withEndpoint(replica('r1', { type: 'chat' }), endpoint)));
    const query = prepareQuery({ type: 'chat' });
    const choose = (protocol?: Protocol): string | undefined =>
      list.choose(query, NO_EXCLUSIONS, protocol)?.replica.endpoint;
    put('r1:1');
    expect([choose(), choose('grpc'), choose('http')]).toEqual(['r1:1', 'r1:1', undefined]);
    put('http://r1');
    expect([choose(), choose('grpc'), choose('http')]).toEqual(['http://r1', undefined, 'http://r1']);
    put('r1:2');
    expect([choose(), choose('grpc'), choose('http')]).toEqual(['r1:2', 'r1:2', undefined]);
    list.delete(asReplicaId('r1'));
    expect([choose(), choose('grpc'), choose('http')]).toEqual([undefined, undefined, undefined]);
  });
});
