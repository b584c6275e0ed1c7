import { beforeEach, describe, expect, it } from 'vitest';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import { MAX_WATCH_EVENT_BYTES } from '../../src/api/watch-events.js';
import type { LeaseId } from '../../src/core/ids.js';
import { Registry } from '../../src/core/registry.js';
import { type CapabilityFilter, EMPTY_SELECTOR } from '../../src/core/selector.js';
import { WatchLoads } from '../../src/server/watch-loads.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, query, serializedReplica, TEST_REGISTRY } from '../support/replicas.js';

const createFilter = (pairs: Readonly<Record<string, string>> = {}): CapabilityFilter => ({
  query: query(pairs),
  selector: EMPTY_SELECTOR,
});

const ALL = createFilter();
const CHAT = createFilter({ type: 'chat' });

let clock: ManualClock;
let registry: Registry<SerializedReplica>;
/** The streams that are open. */
let receivers: Receiver[];
let loads: WatchLoads;

class Receiver {
  readonly filter: CapabilityFilter;
  readonly received: Buffer[][] = [];

  constructor(filter: CapabilityFilter) {
    this.filter = filter;
    receivers.push(this);
  }

  sendLoads(events: readonly Buffer[]): void {
    this.received.push([...events]);
  }

  /** The reports in short: `r1 3/0, r2 0/0`. */
  get reports(): string[] {
    return this.received.map((events) => events.flatMap(parseLoads).join(', '));
  }
}

function parseLoads(event: Buffer): string[] {
  const [, data = ''] = /^event: load\ndata: (.*)\n\n$/.exec(event.toString()) ?? [];
  type Loads = { loads: { replica_id: string; running: number; waiting: number }[] };
  return (JSON.parse(data) as Loads).loads.map(({ replica_id: id, running, waiting }) => `${id} ${running}/${waiting}`);
}

beforeEach(() => {
  clock = new ManualClock();
  receivers = [];
  const store = new MemoryStore<SerializedReplica>(TEST_REGISTRY);
  const events = { emit: () => {} };
  registry = new Registry({ store, clock, random: { fraction: () => 0 }, ids: createCountingIds(), events });
  loads = new WatchLoads({
    registry,
    clock,
    waitForTurn: () => new Promise((resolve) => void clock.schedule(0, resolve)),
    listReceivers: () => receivers,
  });
  loads.start();
});

const register = (id: string, type = 'chat'): Promise<LeaseId> =>
  registry.register(serializedReplica(id, { type }), { host: 'h', ttlMs: 3_600_000 }, () => {});

const report = (lease: LeaseId, running: number, waiting = 0): void =>
  registry.loads.record(lease, { running, waiting, limit: undefined });

/** Lets time pass, and the work of its turns finish. */
async function advance(ms: number): Promise<void> {
  clock.advance(ms);
  for (let turn = 0; turn < 50; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(0);
  }
}

describe('loads', () => {
  it('are sent at once after a pause, and then at most every 5 s, the changed ones together', async () => {
    const stream = new Receiver(ALL);
    const [r1, r2, r3] = await Promise.all(['r1', 'r2', 'r3'].map((id) => register(id)));
    report(r1 as LeaseId, 1);
    await advance(0);
    expect(stream.reports).toEqual(['r1 1/0']);
    report(r1 as LeaseId, 2);
    report(r2 as LeaseId, 3);
    report(r1 as LeaseId, 4, 5);
    await advance(4999);
    expect(stream.reports).toHaveLength(1);
    await advance(1);
    expect(stream.reports).toEqual(['r1 1/0', 'r1 4/5, r2 3/0']);
    report(r2 as LeaseId, 3);
    await advance(60_000);
    expect(stream.reports).toHaveLength(2);
    report(r3 as LeaseId, 0);
    await advance(0);
    expect(stream.reports[2]).toBe('r3 0/0');
  });

  it('are repeated after 30 s as long as they are reported, also if they have not changed', async () => {
    const stream = new Receiver(ALL);
    const [busy, gone] = await Promise.all(['busy', 'gone'].map((id) => register(id)));
    report(gone as LeaseId, 1);
    for (let renewal = 0; renewal <= 20; renewal++) {
      report(busy as LeaseId, 9);
      await advance(0);
      await advance(3000);
    }
    expect(stream.reports).toEqual(['gone 1/0, busy 9/0', 'busy 9/0', 'busy 9/0']);
  });

  it('are sent to the streams whose filter matches, serialized once for the same filter', async () => {
    const [all, chats, others, embeds] = [ALL, CHAT, CHAT, createFilter({ type: 'embed' })].map(
      (of) => new Receiver(of),
    );
    const none = new Receiver(createFilter({ type: 'rerank' }));
    report(await register('r1'), 1);
    report(await register('r2', 'embed'), 2);
    await advance(0);
    expect([all, chats, others, embeds].map((stream) => stream?.reports)).toEqual([
      ['r1 1/0, r2 2/0'],
      ['r1 1/0'],
      ['r1 1/0'],
      ['r2 2/0'],
    ]);
    expect(chats?.received[0]?.[0]).toBe(others?.received[0]?.[0]);
    expect(none.received).toEqual([]);
  });

  it('of a lease that has ended or was replaced are not sent', async () => {
    const stream = new Receiver(ALL);
    const [r1, r2, r3] = await Promise.all(['r1', 'r2', 'r3'].map((id) => register(id)));
    for (const lease of [r1, r2, r3]) report(lease as LeaseId, 1);
    await registry.release(r1 as LeaseId, 'released');
    await register('r2');
    await advance(0);
    expect(stream.reports).toEqual(['r3 1/0']);
  });

  it('are split into events that clients accept', async () => {
    const stream = new Receiver(ALL);
    const id = (n: number): string => `${n} ${'é"'.repeat(40)}`;
    const leases = await Promise.all(Array.from({ length: 20_000 }, (_, n) => register(id(n))));
    for (const lease of leases) report(lease, 1_000_000);
    await advance(0);
    const [events = []] = stream.received;
    expect(events.length).toBeGreaterThan(1);
    for (const event of events) expect(event.length).toBeLessThan(MAX_WATCH_EVENT_BYTES);
    expect(events.flatMap(parseLoads)).toHaveLength(20_000);
  });

  it('are not collected after the last stream has closed', async () => {
    const stream = new Receiver(ALL);
    const lease = await register('r1');
    report(lease, 1);
    loads.stop();
    await advance(0);
    report(lease, 2);
    await advance(60_000);
    expect(stream.reports).toEqual([]);
    loads.start();
    report(lease, 3);
    await advance(5000);
    expect(stream.reports).toEqual(['r1 3/0']);
  });

  it('take turns of the event loop, so that other work is not held up', async () => {
    const stream = new Receiver(ALL);
    const { find } = registry;
    let longestMs = 0;
    // Each replica takes 0.1 ms.
    registry.find = (id) => {
      clock.pause(0.1);
      return find.call(registry, id);
    };
    for (let n = 0; n < 200; n++) report(await register(`r${n}`), 1);
    for (let turn = 0; turn < 1000 && stream.received.length === 0; turn++) {
      const beganAtMs = clock.nowMs();
      clock.advance(0);
      await new Promise((resolve) => setImmediate(resolve));
      longestMs = Math.max(longestMs, clock.nowMs() - beganAtMs);
    }
    expect(stream.received).toHaveLength(1);
    expect(longestMs).toBeLessThan(3);
  });
});
