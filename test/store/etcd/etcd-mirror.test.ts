import { beforeEach, describe, expect, it } from 'vitest';
import type { StreamListener } from '../../../src/store/etcd/etcd-api.js';
import { EtcdMirror, type EtcdMirrorOptions } from '../../../src/store/etcd/etcd-mirror.js';
import { type Event, Event_EventType, type WatchResponse } from '../../../src/store/etcd/gen/etcd.js';
import { ManualClock } from '../../support/manual-clock.js';
import { createSeededRandom } from '../../support/seeded-random.js';
import { advance } from '../../support/simulated-stores.js';

let clock: ManualClock;
/** Times of the complete lists, in ms. */
let lists: number[];
/** The values of the changes of each call. */
let applied: string[][];
let watch: StreamListener<WatchResponse>;

const HEADER = { clusterId: 1n, memberId: 1n, revision: 1n };

/** Starts a mirror of an empty registry at revision 1, whose watch a test feeds. */
async function startMirror(
  seed: number,
  range: EtcdMirrorOptions['api']['range'] = async () => ({ header: HEADER, kvs: [], more: false }),
): Promise<void> {
  const mirror = new EtcdMirror({
    api: {
      range: (request) => {
        lists.push(clock.nowMs());
        return range(request);
      },
      openWatch: (_request, listener) => {
        watch = listener;
        watch.onResponse(respond([], { created: true }));
        return { send() {}, cancel() {}, abandon() {} };
      },
    },
    keys: { key: Buffer.from('/a/'), rangeEnd: Buffer.from('/a0') },
    clock,
    random: createSeededRandom(seed),
    listener: {
      startList: () => ({ onPage: () => {}, onEnd: () => {} }),
      onChanges: (events) => void applied.push(events.map(({ kv }) => Buffer.from(kv?.value ?? []).toString())),
    },
  });
  mirror.start();
  await advance(clock, 0);
}

function respond(values: readonly string[], facts: Partial<WatchResponse> = {}): WatchResponse {
  const events = values.map((value): Event => {
    const kv = { key: Buffer.from(`/a/${value}`), value: Buffer.from(value), createRevision: 2n, modRevision: 2n };
    return { type: Event_EventType.PUT, kv: { ...kv, version: 1n, lease: 0n } };
  });
  const header = { clusterId: 1n, memberId: 1n, revision: 2n };
  const rest = { created: false, canceled: false, compactRevision: 0n, cancelReason: '', fragment: false };
  return { header, ...rest, ...facts, events };
}

beforeEach(() => {
  clock = new ManualClock();
  lists = [];
  applied = [];
});

it('applies a revision that arrives in several responses at once, so that no route sees a part of it', async () => {
  await startMirror(1);
  watch.onResponse(respond(['one', 'two'], { fragment: true }));
  watch.onResponse(respond(['three'], { fragment: true }));
  expect(applied).toEqual([]);
  watch.onResponse(respond(['four']));
  expect(applied).toEqual([['one', 'two', 'three', 'four']]);
});

describe('complete lists', () => {
  it.each([
    [300, [100n, 1000n, 1000n]],
    [256 * 1024, [100n, 15n, 15n]],
    [8 * 1024 * 1024, [100n, 1n, 1n]],
  ])('have pages that arrive in time, with records of %i bytes', async (recordBytes, sizes) => {
    const asked: bigint[] = [];
    const record = { createRevision: 1n, modRevision: 1n, version: 1n, lease: 0n, value: Buffer.alloc(recordBytes) };
    await startMirror(1, async ({ limit }) => {
      asked.push(limit);
      const kvs = Array.from({ length: Number(limit) }, (_, n) => ({ ...record, key: Buffer.from(`/a/${n}`) }));
      return { header: HEADER, kvs, more: asked.length < 3 };
    });
    expect(asked).toEqual(sizes);
  });

  it('are read every 5 minutes, give or take 20 %, and not by all servers at the same time', async () => {
    await startMirror(1);
    const delays = async (): Promise<number[]> => {
      await advance(clock, 3_600_000);
      return lists.slice(1).map((atMs, index) => Math.round((atMs - (lists[index] as number)) / 1000));
    };
    const first = await delays();
    expect(first.length).toBeGreaterThanOrEqual(10);
    expect(Math.min(...first)).toBeGreaterThanOrEqual(240);
    expect(Math.max(...first)).toBeLessThanOrEqual(360);
    expect(new Set(first).size).toBeGreaterThan(5);
    lists = [];
    clock = new ManualClock();
    await startMirror(2);
    expect(await delays()).not.toEqual(first);
  });

  it('are read at once after a compaction, and when another cluster or an older revision answers', async () => {
    await startMirror(1);
    watch.onResponse(respond([], { canceled: true, compactRevision: 9n }));
    await advance(clock, 0);
    expect(lists).toHaveLength(2);
    watch.onResponse({ ...respond([]), header: { clusterId: 2n, memberId: 1n, revision: 2n } });
    await advance(clock, 0);
    expect(lists).toHaveLength(3);
    watch.onResponse({ ...respond([]), header: { clusterId: 1n, memberId: 1n, revision: 0n } });
    await advance(clock, 0);
    expect(lists).toHaveLength(4);
  });
});
