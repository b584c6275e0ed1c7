import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { ListedReplica } from '../../../src/api/replica-list-json.js';
import { ReplicaTable, UNCONFIRMED_FOR_MS } from '../../../src/client/balancing/replica-table.js';
import { asReplicaId } from '../../../src/core/ids.js';
import { toServer } from '../../support/api-client.js';
import { ManualClock } from '../../support/manual-clock.js';
import { listReplica, replica } from '../../support/replicas.js';

function createListed(id: string, { seq = 1, state = 'ready' } = {}): ListedReplica {
  return listReplica(replica(id, {}), { state, instance: { id: `process of ${id}`, seq } });
}

/** Creates a table with a manual clock, and short names for the events of its servers. */
function createTable() {
  const clock = new ManualClock();
  const removed: string[] = [];
  const table = new ReplicaTable(clock, ({ replica: { id } }) => removed.push(id));
  const createServer = (name: string) => {
    const server = toServer(name);
    return {
      connect: () => table.connect(server),
      disconnect: () => table.disconnect(server),
      forget: () => table.forget(server),
      put: (id: string, options?: { seq?: number; state?: string }) =>
        table.apply(server, { kind: 'put', replica: createListed(id, options) }),
      remove: (id: string) => table.apply(server, { kind: 'removed', replicaId: asReplicaId(id), reason: 'closed' }),
      beginList: (isWarming = false) => table.apply(server, { kind: 'snapshot', isWarming }),
      endList: () => table.apply(server, { kind: 'synced' }),
      warm: () => table.apply(server, { kind: 'warm' }),
      /** Connects, and sends a complete list of these replicas. */
      list(ids: readonly string[], isWarming = false) {
        table.connect(server);
        this.beginList(isWarming);
        for (const id of ids) this.put(id);
        this.endList();
      },
    };
  };
  const listIds = (): string[] => [...table.replicas.keys()].sort();
  return { clock, table, removed, createServer, listIds, a: createServer('a'), b: createServer('b') };
}

describe('ReplicaTable', () => {
  it('is the union of the lists of all servers, and is loaded after the first complete list', () => {
    const { table, a, b, listIds } = createTable();
    a.connect();
    a.beginList();
    a.put('r1');
    expect(table.isLoaded).toBe(false);
    a.endList();
    expect(table.isLoaded).toBe(true);
    b.list(['r2', 'r1']);
    expect(listIds()).toEqual(['r1', 'r2']);
  });

  it('has the newest registration of a replica', () => {
    const { table, a, b } = createTable();
    a.list([]);
    b.list([]);
    a.put('r1', { seq: 2, state: 'draining' });
    b.put('r1', { seq: 1, state: 'ready' });
    expect(table.replicas.get(asReplicaId('r1'))?.state).toBe('draining');
  });

  it('drops a replica at once when its only server removes it', () => {
    const { a, listIds, removed } = createTable();
    a.list(['r1', 'r2']);
    a.remove('r1');
    expect([listIds(), removed]).toEqual([['r2'], ['r1']]);
  });

  it('keeps a replica that another connected server lists, until that removes it too', () => {
    const { a, b, listIds, removed } = createTable();
    a.list(['r1']);
    b.list(['r1']);
    a.remove('r1');
    expect([listIds(), removed]).toEqual([['r1'], []]);
    b.remove('r1');
    expect([listIds(), removed]).toEqual([[], ['r1']]);
  });

  it('drops a replica that its only connected server removes, though a disconnected one had it', () => {
    const { a, b, listIds } = createTable();
    a.list(['r1']);
    b.list(['r1']);
    a.disconnect();
    b.remove('r1');
    expect(listIds()).toEqual([]);
  });

  it('keeps the replicas of a server that was lost for 15 s while another is connected', () => {
    const { clock, a, b, listIds } = createTable();
    a.list(['r1']);
    b.list(['r2']);
    a.disconnect();
    clock.advance(UNCONFIRMED_FOR_MS - 1);
    expect(listIds()).toEqual(['r1', 'r2']);
    clock.advance(1);
    expect(listIds()).toEqual(['r2']);
  });

  it('keeps everything while no server is connected, for any time', () => {
    const { clock, table, a, b, listIds } = createTable();
    a.list(['r1']);
    b.list(['r2']);
    a.disconnect();
    clock.advance(10_000);
    b.disconnect();
    clock.advance(3_600_000);
    expect([listIds(), table.isLoaded, clock.pending()]).toEqual([['r1', 'r2'], true, []]);
    b.list(['r2']);
    clock.advance(4_999);
    expect(listIds()).toEqual(['r1', 'r2']);
    clock.advance(1);
    expect(listIds()).toEqual(['r2']);
  });

  it('keeps a replica for 15 s that a complete list leaves out', () => {
    const { clock, a, listIds } = createTable();
    a.list(['r1', 'r2']);
    a.disconnect();
    a.list(['r2']);
    expect(listIds()).toEqual(['r1', 'r2']);
    clock.advance(UNCONFIRMED_FOR_MS);
    expect(listIds()).toEqual(['r2']);
  });

  it('looks for lost replicas when a connection begins, and not with each event of it', () => {
    const { clock, a, b } = createTable();
    a.list(['r1']);
    a.disconnect();
    b.list([]);
    const schedule = vi.spyOn(clock, 'schedule');
    for (let n = 0; n < 100; n++) {
      b.connect();
      b.put(`r${n}`);
    }
    expect(schedule).not.toHaveBeenCalled();
  });

  it('counts the 15 s from when the replica was last confirmed, however often the server is lost', () => {
    const { clock, a, b, listIds } = createTable();
    a.list(['r1']);
    b.list([]);
    a.disconnect();
    clock.advance(10_000);
    a.list([]);
    clock.advance(5_000);
    expect(listIds()).toEqual([]);
  });

  it('removes nothing because of the list of a server that has just started, until that is warm', () => {
    const { clock, a, listIds } = createTable();
    a.list(['r1', 'r2']);
    a.disconnect();
    a.list(['r2'], true);
    clock.advance(60_000);
    expect(listIds()).toEqual(['r1', 'r2']);
    a.warm();
    expect(listIds()).toEqual(['r2']);
  });

  it('keeps a replica that comes back before the server is warm', () => {
    const { clock, a, listIds } = createTable();
    a.list(['r1']);
    a.disconnect();
    a.list([], true);
    clock.advance(9000);
    a.put('r1');
    a.warm();
    clock.advance(60_000);
    expect(listIds()).toEqual(['r1']);
  });

  it('is warming while all connected servers are', () => {
    const { table, a, b } = createTable();
    expect(table.isWarming).toBe(false);
    a.list([], true);
    expect(table.isWarming).toBe(true);
    b.list([]);
    expect(table.isWarming).toBe(false);
    b.disconnect();
    expect(table.isWarming).toBe(true);
    a.warm();
    expect(table.isWarming).toBe(false);
  });

  it('forgets the replicas of a server that is no longer listed', () => {
    const { a, b, listIds, removed } = createTable();
    a.list(['r1', 'r2']);
    b.list(['r2']);
    a.forget();
    expect([listIds(), removed]).toEqual([['r2'], ['r1']]);
  });

  it('ignores the events of a server that is not connected', () => {
    const { a, listIds } = createTable();
    a.list(['r1']);
    a.disconnect();
    a.remove('r1');
    a.put('r2');
    expect(listIds()).toEqual(['r1']);
  });

  it('has no timers after it is closed', () => {
    const { clock, table, a, b } = createTable();
    a.list(['r1']);
    b.list([]);
    a.disconnect();
    expect(clock.pending()).toHaveLength(1);
    table.close();
    expect(clock.pending()).toEqual([]);
  });
});

describe('any sequence of events', () => {
  type Step =
    | { readonly kind: 'connect' | 'disconnect' | 'warm'; readonly server: number }
    | { readonly kind: 'list'; readonly server: number; readonly ids: readonly number[]; readonly isWarming: boolean }
    | { readonly kind: 'put' | 'remove'; readonly server: number; readonly id: number }
    | { readonly kind: 'wait'; readonly ms: number };
  const server = fc.nat({ max: 2 });
  const id = fc.nat({ max: 4 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constantFrom('connect' as const, 'disconnect' as const, 'warm' as const), server }),
    fc.record({
      kind: fc.constant('list' as const),
      server,
      ids: fc.uniqueArray(id, { maxLength: 5 }),
      isWarming: fc.boolean(),
    }),
    fc.record({ kind: fc.constantFrom('put' as const, 'remove' as const), server, id }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 1000, 7000, 15_000, 60_000) }),
  );

  it('keeps each replica that a connected server confirms, and loses none to a lost, empty or warming server', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { clock, createServer, listIds } = createTable();
        const servers = ['a', 'b', 'c'].map((name) => ({
          events: createServer(name),
          isConnected: false,
          confirmed: new Set<string>(),
        }));
        for (const one of steps) {
          const before = new Set(listIds());
          const target = one.kind === 'wait' ? undefined : servers[one.server];
          if (one.kind === 'wait') clock.advance(one.ms);
          if (one.kind !== 'wait' && target) applyStep(one, target);
          const after = new Set(listIds());
          const connected = servers.filter(({ isConnected }) => isConnected);
          for (const { confirmed } of connected) for (const name of confirmed) expect(after).toContain(name);
          // Only a removal and the passing of time take a replica away; the end of the warming time ends a wait.
          if (one.kind !== 'wait' && one.kind !== 'remove' && one.kind !== 'warm' && one.kind !== 'list') {
            for (const name of before) expect(after).toContain(name);
          }
          if (connected.length === 0) expect(after).toEqual(before);
        }
      }),
      { numRuns: 300 },
    );
  });

  function applyStep(
    one: Exclude<Step, { kind: 'wait' }>,
    target: {
      readonly events: ReturnType<ReturnType<typeof createTable>['createServer']>;
      isConnected: boolean;
      confirmed: Set<string>;
    },
  ): void {
    const { events } = target;
    switch (one.kind) {
      case 'connect':
        events.connect();
        target.isConnected = true;
        break;
      case 'disconnect':
        events.disconnect();
        target.isConnected = false;
        target.confirmed = new Set();
        break;
      case 'list':
        events.list(
          one.ids.map((n) => `r${n}`),
          one.isWarming,
        );
        target.isConnected = true;
        target.confirmed = new Set(one.ids.map((n) => `r${n}`));
        break;
      case 'put':
        events.put(`r${one.id}`);
        if (target.isConnected) target.confirmed.add(`r${one.id}`);
        break;
      case 'remove':
        events.remove(`r${one.id}`);
        target.confirmed.delete(`r${one.id}`);
        break;
      case 'warm':
        events.warm();
        break;
    }
  }
});
