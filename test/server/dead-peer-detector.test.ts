import { beforeEach, describe, expect, it, type Mock, vi } from 'vitest';
import { asLeaseId } from '../../src/core/ids.js';
import type { Registry } from '../../src/core/registry.js';
import { DeadPeerDetector } from '../../src/server/dead-peer-detector.js';
import { getTcpKey, type TcpEntry } from '../../src/server/tcp-table.js';
import { ManualClock } from '../support/manual-clock.js';
import { keptEvents } from '../support/replicas.js';

const LEASE = asLeaseId('lease-1');
const PLACES = { localAddress: '10.0.0.1', localPort: 8080, remoteAddress: '10.0.0.2', remotePort: 4000 };
const HEARTBEAT_BYTES = 33;

let clock: ManualClock;
let registry: { accuse: Mock<Registry['accuse']>; seen: Mock<Registry['seen']> };
let socket: { destroyed: boolean; bytesWritten: number; writableLength: number } & typeof PLACES;
let entry: TcpEntry;
let events: ReturnType<typeof keptEvents>;
let watch: DeadPeerDetector;
/** How often any connection of the machine has waited in vain; counts up at every look unless a test says otherwise. */
let countVainWaits: Mock<() => Promise<number | undefined>>;

/** Starts a watch, and once it has taken its first look one connection to be watched, whose line in the table the tests change. */
async function started(
  readTable = async function* () {
    yield entry;
  } as () => AsyncIterable<TcpEntry>,
): Promise<void> {
  watch = new DeadPeerDetector({ registry, clock, events, limitMs: 3000, readTable, countVainWaits });
  await new Promise((resolve) => setImmediate(resolve));
  watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
}

beforeEach(() => {
  clock = new ManualClock();
  registry = { accuse: vi.fn(async () => {}), seen: vi.fn(async () => {}) };
  socket = { destroyed: false, bytesWritten: 1000, writableLength: 0, ...PLACES };
  const key = getTcpKey(socket) as string;
  entry = { key, unacknowledgedBytes: 0, retransmits: 0, isWindowClosed: false, retransmitAfterMs: 200 };
  events = keptEvents();
  let count = 0;
  countVainWaits = vi.fn(async () => count++);
});

/** Lets the looks of so many milliseconds happen, one after the other. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    clock.advance(250);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A heartbeat is sent and not acknowledged. */
function send(): void {
  socket.bytesWritten += HEARTBEAT_BYTES;
  entry = { ...entry, unacknowledgedBytes: entry.unacknowledgedBytes + HEARTBEAT_BYTES };
}

const failure = (code: string): Error => Object.assign(new Error(`${code}: failed`), { code });

/** A table that cannot be read. */
const failing = (code: string): AsyncIterable<TcpEntry> => ({
  [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(failure(code)) }),
});

describe('a host that acknowledges nothing', () => {
  it('is accused once four retransmissions had no answer, and the limit has passed', async () => {
    await started();
    await pass(2000);
    send();
    for (const [retransmits, ms] of [
      [1, 500],
      [2, 750],
      [3, 1750],
    ] as const) {
      entry = { ...entry, retransmits };
      await pass(ms);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
    entry = { ...entry, retransmits: 4 };
    await pass(250);
    expect(registry.accuse).toHaveBeenCalledWith(LEASE, 'unacknowledged', { lateByMs: 0, forMs: 4500, isLossy: false });
  });

  it('is not accused for what is acknowledged bit by bit, though there always is something that is not', async () => {
    await started();
    entry = { ...entry, retransmits: 4 };
    for (let beats = 0; beats < 10; beats++) {
      entry = { ...entry, unacknowledgedBytes: 0 };
      send();
      await pass(2000);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('is not accused before it had to answer four times, however slow its network', async () => {
    await started();
    send();
    entry = { ...entry, retransmits: 3 };
    await pass(20_000);
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('is accused when its window stays closed: nobody reads there', async () => {
    await started();
    send();
    entry = { ...entry, isWindowClosed: true };
    await pass(3000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await pass(2000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('is accused when its window closed while a segment was on its way, which the kernel sends again uncounted', async () => {
    let count = 0;
    countVainWaits = vi.fn(async () => count);
    await started();
    send();
    // At 0.2, 0.6, 1.4 and 3 s: each time the machine's counter of retransmissions goes up, and the timeout doubles.
    for (const [retransmitAfterMs, ms] of [
      [200, 250],
      [400, 500],
      [800, 750],
      [1600, 1500],
    ] as const) {
      count++;
      entry = { ...entry, retransmitAfterMs };
      await pass(ms);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
    await pass(3000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('is not accused for a long timeout that does not grow: it measured a slow network', async () => {
    await started();
    send();
    entry = { ...entry, retransmitAfterMs: 16_000 };
    await pass(12_000);
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('was seen when it acknowledges after all, and is known to have a bad network for a minute', async () => {
    await started();
    const fallSilent = async (): Promise<void> => {
      send();
      entry = { ...entry, retransmits: 4 };
      await pass(6000);
    };
    await fallSilent();
    expect(registry.seen).not.toHaveBeenCalled();
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await pass(1000);
    expect(registry.seen).toHaveBeenCalledWith(LEASE);
    registry.accuse.mockClear();
    await fallSilent();
    expect(registry.accuse.mock.lastCall?.[2]).toMatchObject({ isLossy: true });
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await pass(62_000);
    await fallSilent();
    expect(registry.accuse.mock.lastCall?.[2]).toMatchObject({ isLossy: false });
  });

  it('is accused after two when it is known to lose packets, for the kernel waits longer between them there', async () => {
    await started();
    send();
    entry = { ...entry, retransmits: 3 };
    await pass(2000);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await pass(1000);
    send();
    entry = { ...entry, retransmits: 1 };
    await pass(10_000);
    expect(registry.accuse).not.toHaveBeenCalled();
    entry = { ...entry, retransmits: 2 };
    await pass(250);
    expect(registry.accuse).toHaveBeenCalledWith(LEASE, 'unacknowledged', { lateByMs: 0, forMs: 4500, isLossy: true });
  });

  it('says how late its own timer came', async () => {
    await started();
    send();
    entry = { ...entry, isWindowClosed: true };
    await pass(3000);
    clock.pause(20_000);
    await pass(250);
    expect(registry.accuse).toHaveBeenCalledWith(
      LEASE,
      'unacknowledged',
      expect.objectContaining({ lateByMs: expect.closeTo(19_000, -3) }),
    );
  });
});

describe('the table', () => {
  let readings: number;

  async function startedCounting(): Promise<void> {
    readings = 0;
    await started(async function* () {
      readings++;
      yield entry;
    });
  }

  it('is not read while nothing on the machine has waited in vain, and is when something has', async () => {
    countVainWaits.mockResolvedValue(7);
    await startedCounting();
    send();
    await pass(10_000);
    expect(readings).toBe(0);
    countVainWaits.mockResolvedValue(8);
    await pass(3000);
    expect(readings).toBe(1);
  });

  it.each([
    ['something was sent again', { retransmits: 1 }],
    ['a window is closed', { isWindowClosed: true }],
  ])('is read on and on while %s, until it no longer is', async (_what, pressed) => {
    countVainWaits.mockResolvedValueOnce(7).mockResolvedValueOnce(7).mockResolvedValue(8);
    await startedCounting();
    await pass(1000);
    send();
    entry = { ...entry, ...pressed };
    await pass(1000);
    const soFar = readings;
    await pass(2000);
    expect(readings).toBeGreaterThanOrEqual(soFar + 2);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0, isWindowClosed: false };
    await pass(1000);
    const atRest = readings;
    await pass(10_000);
    expect(readings).toBe(atRest);
  });

  it('is read at every look where it is not counted who waits in vain', async () => {
    countVainWaits.mockResolvedValue(undefined);
    await startedCounting();
    await pass(5000);
    expect(readings).toBe(5);
  });

  it('is not read while nobody is watched, whatever waits in vain', async () => {
    watch = new DeadPeerDetector({
      ...{ registry, clock, events, limitMs: 3000, countVainWaits },
      readTable: () => failing('EMFILE'),
    });
    await pass(5000);
    expect(countVainWaits.mock.calls.length).toBeGreaterThan(3);
    expect(events.all).toEqual([]);
  });

  it('tells of a silence that began while it was not read', async () => {
    countVainWaits.mockResolvedValueOnce(7).mockResolvedValueOnce(7).mockResolvedValueOnce(7);
    await startedCounting();
    await pass(1750);
    send();
    entry = { ...entry, retransmits: 1 };
    await pass(1250);
    entry = { ...entry, retransmits: 4 };
    await pass(2000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await pass(500);
    expect(registry.accuse).toHaveBeenCalled();
  });
});

it('a connection that is watched no more is accused of nothing', async () => {
  await started();
  watch.watch({ lease: asLeaseId('lease-2'), host: 'h', socket: { ...socket, destroyed: true } })();
  const { key } = entry;
  const unwatch = watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
  unwatch();
  entry = { key, unacknowledgedBytes: 33, retransmits: 5, isWindowClosed: true, retransmitAfterMs: 6400 };
  await pass(10_000);
  expect(registry.accuse).not.toHaveBeenCalled();
  watch.close();
  expect(clock.pending()).toEqual([]);
});

it.each(['ENOENT', 'EACCES'])('where there is no table (%s), one event says so', async (code) => {
  await started(() => failing(code));
  await pass(3000);
  expect(events.all).toEqual([{ kind: 'dead_peer_detection_unavailable', error: `${code}: failed` }]);
  expect(clock.pending()).toEqual([]);
});

describe('a look that fails', () => {
  let reason: Error | undefined;
  let looks: number;

  beforeEach(async () => {
    reason = undefined;
    looks = 0;
    await started(async function* () {
      looks++;
      if (reason) throw reason;
      yield entry;
    });
  });

  it('is taken again a second later, with one event until one succeeds', async () => {
    for (const expected of [1, 2]) {
      reason = failure('EMFILE');
      await pass(3000);
      const event = { kind: 'dead_peer_detection_failed', error: 'EMFILE: failed' };
      expect(events.all).toEqual(Array(expected).fill(event));
      reason = undefined;
      await pass(2000);
    }
    expect(looks).toBe(10);
  });

  it('is not taken for one that saw nothing', async () => {
    countVainWaits.mockResolvedValueOnce(7).mockResolvedValue(8);
    await pass(1000);
    send();
    entry = { ...entry, retransmits: 1 };
    reason = failure('EMFILE');
    await pass(1000);
    reason = undefined;
    await pass(1000);
    expect(looks).toBe(3);
    reason = failure('EMFILE');
    await pass(1000);
    reason = undefined;
    entry = { ...entry, retransmits: 4 };
    await pass(3000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('makes no silence longer than it was seen to be', async () => {
    await pass(1000);
    reason = failure('EMFILE');
    await pass(20_000);
    reason = undefined;
    send();
    entry = { ...entry, retransmits: 4 };
    await pass(3000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await pass(1000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('for one lease is one for the others, and is taken again for that one', async () => {
    const other = { ...socket, remotePort: 4001 };
    watch.watch({ lease: asLeaseId('lease-2'), host: '10.0.0.2', socket: other });
    watch.close();
    watch = new DeadPeerDetector({
      ...{ registry, clock, events, limitMs: 3000, countVainWaits },
      async *readTable() {
        yield entry;
        yield { ...entry, key: getTcpKey(other) as string };
      },
    });
    watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
    watch.watch({ lease: asLeaseId('lease-2'), host: '10.0.0.2', socket: other });
    // As of a store whose file is gone: it says nothing of the table.
    const refuseFirst = async (lease: string): Promise<void> => {
      if (lease === LEASE) throw failure('ENOENT');
    };
    registry.accuse.mockImplementation(refuseFirst);
    registry.seen.mockImplementationOnce(refuseFirst);
    send();
    entry = { ...entry, retransmits: 4 };
    await pass(6000);
    const accused = registry.accuse.mock.calls.map(([lease]) => lease);
    expect(accused.filter((lease) => lease === LEASE).length).toBeGreaterThan(1);
    expect(accused).toContain('lease-2');
    const error = '1 of what it saw could not be noted: ENOENT: failed';
    expect(events.all).toEqual([{ kind: 'dead_peer_detection_failed', error }]);
    countVainWaits.mockResolvedValue(1000);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await pass(3000);
    expect(registry.seen.mock.calls).toEqual([[LEASE], ['lease-2'], [LEASE]]);
  });
});
