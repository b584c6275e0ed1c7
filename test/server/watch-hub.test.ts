import type { ServerResponse } from 'node:http';
import { beforeEach, describe, expect, it } from 'vitest';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import type { LeaseId } from '../../src/core/ids.js';
import type { Clock } from '../../src/core/ports.js';
import { Registry } from '../../src/core/registry.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import type { EventStreamResponse, ReadEvents } from '../../src/server/event-stream-response.js';
import type { WatchedRegistry } from '../../src/server/watch-feeds.js';
import { WatchHub, type WatchHubOptions } from '../../src/server/watch-hub.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, serializedReplica, TEST_REGISTRY } from '../support/replicas.js';
import { until } from '../support/until.js';

/** A stream whose client receives each write at once, unless it is blocked. */
class FakeStream {
  received = '';
  writes: (string | Uint8Array)[] = [];
  isBlocked = false;
  unsentBytes = 0;
  isOpen = true;
  readonly #read: ReadEvents;
  readonly #closed: (() => void)[] = [];

  constructor(read: ReadEvents) {
    this.#read = read;
  }

  notify(): void {
    while (this.isOpen && !this.isBlocked) {
      const events = this.#read(this as unknown as EventStreamResponse);
      if (events.length === 0 || !this.isOpen) return;
      this.writes.push(events);
      this.received += Buffer.from(events).toString();
    }
  }

  end(lastEvent = ''): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.received += lastEvent;
    for (const listener of this.#closed) listener();
  }

  onClosed(listener: () => void): void {
    this.#closed.push(listener);
  }

  get events(): string[] {
    return this.received
      .split('\n\n')
      .slice(0, -1)
      .map((frame) => {
        const [, event, data = ''] = /event: (\S+)\ndata: (.*)/.exec(frame) ?? [];
        const { replica_id: id, state, reason } = JSON.parse(data);
        return [event, id, state, reason].filter((part) => part !== undefined).join(' ');
      });
  }
}

let clock: ManualClock;
let registry: Registry<SerializedReplica>;
let described: number;
let dead: (() => void)[];
let destroyed: number;

beforeEach(() => {
  clock = new ManualClock();
  described = 0;
  dead = [];
  destroyed = 0;
  const store = new MemoryStore<SerializedReplica>(TEST_REGISTRY);
  const events = { emit: () => {} };
  registry = new Registry({ store, clock, random: { fraction: () => 0 }, ids: createCountingIds(), events });
});

function createHub({
  onDescribe = () => {},
  ...options
}: Partial<WatchHubOptions> & { readonly onDescribe?: () => void } = {}) {
  const watched: WatchedRegistry = {
    changes: registry.changes,
    pages: () => registry.pages(),
    describe: (registration) => {
      described++;
      onDescribe();
      return registry.describe(registration);
    },
    find: (id) => registry.find(id),
    loads: registry.loads,
  };
  const streams: FakeStream[] = [];
  const hub = new WatchHub({
    clock,
    streams: {
      open: (_response, read) => {
        const stream = new FakeStream(read);
        streams.push(stream);
        stream.notify();
        return stream as unknown as EventStreamResponse;
      },
    },
    deadPeers: {
      watch: ({ onDead }) => {
        dead.push(onDead as () => void);
        return () => void dead.splice(dead.indexOf(onDead as () => void), 1);
      },
    },
    warmingMs: 0,
    ...options,
  });
  const response = {
    socket: { remoteAddress: 'h' },
    destroy: () => void destroyed++,
  } as unknown as ServerResponse;
  const watch = (query: readonly string[] = [], number?: number): FakeStream => {
    hub.watch(
      watched,
      { query, selector: EMPTY_SELECTOR },
      number === undefined ? undefined : { epoch: registry.changes.epoch, number },
      response,
    );
    return streams.at(-1) as FakeStream;
  };
  return { hub, watch };
}

const register = (id: string, type = 'chat'): Promise<LeaseId> =>
  registry.register(serializedReplica(id, { type }), { host: 'h' }, () => {});

/** Lets the work of this turn of the event loop finish, on the manual clock too. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    clock.advance(0);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('changes', () => {
  it('are sent at once after a pause, and then together every 50 ms, serialized once for all streams', async () => {
    const { watch } = createHub();
    const streams = [watch(), watch(), watch(['type', 'chat'])];
    await settle();
    const lease = await register('r1');
    clock.advance(0);
    const sentAfter = (ms: number): string[][] => {
      clock.advance(ms);
      return streams.map(({ events }) => events.slice(2));
    };
    expect(sentAfter(0)).toEqual(Array(3).fill(['put r1 ready']));
    expect(described).toBe(1);
    await registry.renew(lease, 'unready');
    await registry.renew(lease, 'ready');
    expect(sentAfter(49)[0]).toEqual(['put r1 ready']);
    expect(sentAfter(1)).toEqual(Array(3).fill(['put r1 ready', 'put r1 unready', 'put r1 ready']));
    expect(described).toBe(3);
    expect(streams[0]?.writes.at(-1)).toBe(streams[1]?.writes.at(-1));
    expect(streams[0]?.writes.length).toBe(4);
  });

  it('wait for a stream that is blocked, and are sent when it can receive them', async () => {
    const { watch } = createHub();
    const [slow, fast] = [watch(), watch()];
    await settle();
    slow.isBlocked = true;
    for (let n = 0; n < 3; n++) {
      await register(`r${n}`);
      clock.advance(50);
    }
    expect([slow.events.length, fast.events.length]).toEqual([2, 5]);
    slow.isBlocked = false;
    slow.notify();
    expect(slow.events).toEqual(fast.events);
    expect(described).toBe(3);
  });

  it('larger than 64 KiB are sent in several writes', async () => {
    const { watch } = createHub();
    const stream = watch();
    await settle();
    for (let n = 0; n < 1000; n++) void register(`r${n}`, 'x'.repeat(100));
    void registry.register(serializedReplica('large', { text: 'x'.repeat(200_000) }), { host: 'h' }, () => {});
    await settle();
    clock.advance(50);
    expect(stream.events.length).toBe(1003);
    const sizes = stream.writes.map(({ length }) => length);
    expect(sizes.filter((size) => size > 66_000).length).toBe(1);
    expect(sizes.length).toBeGreaterThan(5);
  });
});

describe('a snapshot', () => {
  it('is made once for all streams with the same filter for 2 s, which then get the changes since', async () => {
    for (let n = 0; n < 1000; n++) await register(`r${n}`);
    const { watch } = createHub();
    const streams = [watch(['a', '1', 'type', 'chat']), watch(['type', 'chat'])];
    await settle();
    expect(described).toBe(1000);
    await register('new');
    streams.push(watch(['type', 'chat']));
    await settle();
    clock.advance(50);
    expect(described).toBe(1001);
    expect(streams[2]?.events.slice(-2)).toEqual(['synced', 'put new ready']);
    expect(streams[2]?.received).toBe(streams[1]?.received);
    clock.advance(2000);
    expect(watch(['type', 'chat']).events).toEqual(['snapshot']);
    await settle();
    expect(described).toBe(2002);
  });

  it('is made in slices of 2 ms, so that other work is not held up', async () => {
    for (let n = 0; n < 1000; n++) await register(`r${n}`);
    let slices = 0;
    const { watch } = createHub({
      // A replica takes 0.1 ms, so that a page of 128 replicas is more than a slice.
      onDescribe: () => clock.pause(0.1),
    });
    const stream = watch();
    await until('it is complete', async () => {
      const before = clock.nowMs();
      clock.advance(0);
      await new Promise((resolve) => setImmediate(resolve));
      const busyMs = clock.nowMs() - before;
      expect(busyMs).toBeLessThan(13);
      if (busyMs > 0) slices++;
      return stream.events.includes('synced');
    });
    expect(stream.events.length).toBe(1002);
    expect(slices).toBeGreaterThanOrEqual(8);
  });

  it('ends its streams if it takes too much memory, and the next one can have the memory', async () => {
    for (let n = 0; n < 30; n++) {
      void registry.register(serializedReplica(`r${n}`, { text: 'x'.repeat(100_000) }), { host: 'h' }, () => {});
    }
    const { watch } = createHub({ maxSnapshotBytes: 1_000_000 });
    const [large, other] = [watch(), watch(['text', 'y'])];
    large.isBlocked = true;
    await until('it is made', async () => {
      await settle();
      large.isBlocked = false;
      large.notify();
      clock.advance(0);
      large.isBlocked = true;
      return !large.isOpen || large.events.includes('synced');
    });
    expect(large.events.at(-1)).toBe('dropped too many long snapshots are being sent; try again');
    expect(other.events).toEqual(['snapshot', 'synced']);
    other.end();
    clock.advance(2000);
    const alone = watch();
    await until('it is complete', async () => {
      await settle();
      return alone.events.includes('synced');
    });
  });

  it('is sent to a fleet in turns of 5 ms, so that other work is not held up', async () => {
    for (let n = 0; n < 1000; n++) await register(`r${n}`);
    let spentMs = 0;
    let longestMs = 0;
    const busyClock: Clock = {
      nowMs: () => clock.nowMs() + spentMs,
      epochMs: () => clock.epochMs(),
      schedule: (delayMs, task) =>
        clock.schedule(delayMs, () => {
          const startMs = spentMs;
          task();
          longestMs = Math.max(longestMs, spentMs - startMs);
        }),
    };
    const { watch } = createHub({ clock: busyClock });
    const streams = Array.from({ length: 20 }, () => watch());
    for (const { writes } of streams) {
      writes.push = (...parts) => {
        spentMs++;
        return Array.prototype.push.apply(writes, parts);
      };
    }
    await settle();
    for (const { events } of streams) expect(events.length).toBe(1002);
    expect(spentMs).toBeGreaterThan(60);
    expect(longestMs).toBeLessThanOrEqual(6);
  });
});

describe('a slow client', () => {
  it('is dropped when the changes that it has not received are no longer known', async () => {
    const { watch } = createHub({ historyLimits: { maxChanges: 10, maxBytes: 1e9 } });
    const stream = watch();
    await settle();
    stream.isBlocked = true;
    for (let n = 0; n < 10; n++) await register(`r${n}`);
    clock.advance(1000);
    expect(stream.isOpen).toBe(true);
    await register('r10');
    clock.advance(1000);
    expect(stream.isOpen).toBe(false);
    expect(stream.events.at(-1)).toBe(
      'dropped this client reads too slowly: changes that it has not received are no longer known',
    );
  });

  it('is dropped by the size of the changes too', async () => {
    const { watch } = createHub({ historyLimits: { maxChanges: 1000, maxBytes: 100_000 } });
    const stream = watch();
    await settle();
    stream.isBlocked = true;
    for (let n = 0; n < 5; n++) await register(`r${n}`, 'x'.repeat(20_000));
    clock.advance(1000);
    expect(stream.isOpen).toBe(false);
  });

  it('is dropped when it has received nothing for 30 s, but not when it has received everything', async () => {
    const { watch } = createHub();
    const [slow, idle] = [watch(), watch()];
    await settle();
    slow.isBlocked = true;
    clock.advance(30_000);
    expect([slow.isOpen, idle.isOpen]).toEqual([true, true]);
    clock.advance(2000);
    expect([slow.isOpen, idle.isOpen]).toEqual([false, true]);
    expect(slow.events.at(-1)).toBe('dropped this client has read nothing for 30 s');
  });

  it('is dropped when it has not read the snapshot within 120 s, although it reads', async () => {
    for (let n = 0; n < 3000; n++) await register(`r${n}`, 'x'.repeat(1000));
    const { watch } = createHub();
    const stream = watch();
    // It receives one part every 20 s.
    stream.isBlocked = true;
    await settle();
    const { writes } = stream;
    writes.push = (...parts) => {
      stream.isBlocked = true;
      return Array.prototype.push.apply(writes, parts);
    };
    for (let part = 0; part < 6; part++) {
      stream.isBlocked = false;
      stream.notify();
      clock.advance(0);
      expect([stream.isOpen, stream.isBlocked]).toEqual([true, true]);
      for (let second = 0; second < 20; second++) clock.advance(1000);
    }
    clock.advance(1000);
    expect(stream.isOpen).toBe(false);
    expect(stream.events.at(-1)).toBe('dropped this client has not read the snapshot within 120 s');
  });

  it('is dropped first when all slow clients together take too much memory', async () => {
    const { watch } = createHub({ maxUnsentBytes: 1000 });
    const [first, second, fast] = [watch(), watch(), watch()];
    await settle();
    for (const stream of [first, second]) {
      stream.isBlocked = true;
      stream.unsentBytes = 600;
      clock.advance(400);
    }
    fast.unsentBytes = 5000;
    clock.advance(1000);
    expect([first.isOpen, second.isOpen, fast.isOpen]).toEqual([false, true, true]);
    expect(first.events.at(-1)).toMatch(/^dropped too many clients read slowly/);
  });
});

it('reports the end of the warming time even if its timer fires early', async () => {
  const { watch } = createHub({
    warmingMs: 1000,
    clock: {
      nowMs: () => clock.nowMs(),
      epochMs: () => clock.epochMs(),
      schedule: (delayMs, task) => clock.schedule(delayMs === 0 ? 0 : delayMs - 0.5, task),
    },
  });
  const stream = watch();
  await settle();
  expect(stream.received).toMatch(/^event: snapshot\ndata: \{"warming":true\}\n/);
  clock.advance(999.5);
  expect(stream.events).toEqual(['snapshot', 'synced', 'warm']);
  clock.advance(5000);
  expect(stream.events.length).toBe(3);
});

it('costs nothing a minute after the last client has left', async () => {
  const { hub, watch } = createHub();
  const stream = watch();
  await settle();
  await register('r1');
  clock.advance(50);
  stream.end();
  await register('r2');
  expect([hub.size, dead.length]).toEqual([0, 0]);
  clock.advance(59_000);
  const resumed = watch([], 1);
  expect(resumed.events).toEqual(['put r2 ready', 'synced']);
  resumed.end();
  clock.advance(60_000);
  expect(clock.pending()).toEqual([]);
  await register('r3');
  expect(watch([], 2).events).toEqual(['snapshot']);
});

it('closes the connection of a client whose host is dead', async () => {
  const { watch } = createHub();
  const stream = watch();
  expect([dead.length, destroyed]).toEqual([1, 0]);
  dead[0]?.();
  expect(destroyed).toBe(1);
  stream.end();
  expect(dead).toEqual([]);
});
