import { beforeEach, describe, expect, it, type Mock, vi } from 'vitest';
import { asLeaseId } from '../../src/core/ids.js';
import type { Registry } from '../../src/core/registry.js';
import { DeadPeerDetector } from '../../src/server/dead-peer-detector.js';
import { getTcpKey, type TcpEntry } from '../../src/server/tcp-table.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingEvents } from '../support/replicas.js';

const LEASE = asLeaseId('lease-1');
const PLACES = { localAddress: '10.0.0.1', localPort: 8080, remoteAddress: '10.0.0.2', remotePort: 4000 };
const HEARTBEAT_BYTES = 33;

let clock: ManualClock;
let registry: { accuse: Mock<Registry['accuse']>; recordSignOfLife: Mock<Registry['recordSignOfLife']> };
let socket: { destroyed: boolean; bytesWritten: number; writableLength: number } & typeof PLACES;
let entry: TcpEntry;
let events: ReturnType<typeof createRecordingEvents>;
let watch: DeadPeerDetector;
/** Number of retransmissions of the whole machine. By default, it increases at every check. */
let readRetransmitCount: Mock<() => Promise<number | undefined>>;

/** Starts a detector and, after its first check, watches one connection. The tests change the row of the connection in the table. */
async function startDetector(
  readTable = async function* () {
    yield entry;
  } as () => AsyncIterable<TcpEntry>,
): Promise<void> {
  watch = new DeadPeerDetector({ registry, clock, events, ackTimeoutMs: 3000, readTable, readRetransmitCount });
  await new Promise((resolve) => setImmediate(resolve));
  watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
}

beforeEach(() => {
  clock = new ManualClock();
  registry = { accuse: vi.fn(async () => {}), recordSignOfLife: vi.fn(async () => {}) };
  socket = { destroyed: false, bytesWritten: 1000, writableLength: 0, ...PLACES };
  const key = getTcpKey(socket) as string;
  entry = { key, unacknowledgedBytes: 0, retransmits: 0, isWindowClosed: false, retransmitTimeoutMs: 200 };
  events = createRecordingEvents();
  let count = 0;
  readRetransmitCount = vi.fn(async () => count++);
});

/** Advances the clock, and runs each check that becomes due. */
async function advance(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    clock.advance(250);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Sends a heartbeat that is not acknowledged. */
function send(): void {
  socket.bytesWritten += HEARTBEAT_BYTES;
  entry = { ...entry, unacknowledgedBytes: entry.unacknowledgedBytes + HEARTBEAT_BYTES };
}

const createFailure = (code: string): Error => Object.assign(new Error(`${code}: failed`), { code });

/** A table that cannot be read. */
const createUnreadableTable = (code: string): AsyncIterable<TcpEntry> => ({
  [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(createFailure(code)) }),
});

describe('a host that acknowledges nothing', () => {
  it('has its connection reported if that carries no lease, but not while its receive window is closed', async () => {
    await startDetector();
    const onDead = vi.fn();
    watch.watch({ host: '10.0.0.2', socket, onDead });
    await advance(2000);
    send();
    entry = { ...entry, isWindowClosed: true };
    await advance(20_000);
    expect(onDead).not.toHaveBeenCalled();
    entry = { ...entry, isWindowClosed: false, retransmits: 4 };
    await advance(1000);
    expect(onDead).toHaveBeenCalledOnce();
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await advance(2000);
    expect([registry.accuse.mock.calls, registry.recordSignOfLife.mock.calls]).toEqual([[], []]);
  });

  it('is accused after four unanswered retransmissions, once the limit has passed', async () => {
    await startDetector();
    await advance(2000);
    send();
    for (const [retransmits, ms] of [
      [1, 500],
      [2, 750],
      [3, 1750],
    ] as const) {
      entry = { ...entry, retransmits };
      await advance(ms);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
    entry = { ...entry, retransmits: 4 };
    await advance(250);
    expect(registry.accuse).toHaveBeenCalledWith(LEASE, 'unacknowledged', {
      timerDelayMs: 0,
      minSilentMs: 4500,
      isLossy: false,
    });
  });

  it('is not accused while it makes progress, although something is always unacknowledged', async () => {
    await startDetector();
    entry = { ...entry, retransmits: 4 };
    for (let beats = 0; beats < 10; beats++) {
      entry = { ...entry, unacknowledgedBytes: 0 };
      send();
      await advance(2000);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('is not accused before four retransmissions, however slow its network', async () => {
    await startDetector();
    send();
    entry = { ...entry, retransmits: 3 };
    await advance(20_000);
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('is accused when its window stays closed, because nothing reads there', async () => {
    await startDetector();
    send();
    entry = { ...entry, isWindowClosed: true };
    await advance(3000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await advance(2000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('is accused when its window closed with a segment in flight, which the kernel retransmits uncounted', async () => {
    let count = 0;
    readRetransmitCount = vi.fn(async () => count);
    await startDetector();
    send();
    // At 0.2, 0.6, 1.4 and 3 s the retransmission count of the machine increases, and the timeout doubles.
    for (const [retransmitTimeoutMs, ms] of [
      [200, 250],
      [400, 500],
      [800, 750],
      [1600, 1500],
    ] as const) {
      count++;
      entry = { ...entry, retransmitTimeoutMs };
      await advance(ms);
    }
    expect(registry.accuse).not.toHaveBeenCalled();
    await advance(3000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('is not accused for a long timeout that does not grow, which means a slow network', async () => {
    await startDetector();
    send();
    entry = { ...entry, retransmitTimeoutMs: 16_000 };
    await advance(12_000);
    expect(registry.accuse).not.toHaveBeenCalled();
  });

  it('counts as seen when it acknowledges after all, and as lossy for a minute', async () => {
    await startDetector();
    const fallSilent = async (): Promise<void> => {
      send();
      entry = { ...entry, retransmits: 4 };
      await advance(6000);
    };
    await fallSilent();
    expect(registry.recordSignOfLife).not.toHaveBeenCalled();
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await advance(1000);
    expect(registry.recordSignOfLife).toHaveBeenCalledWith(LEASE);
    registry.accuse.mockClear();
    await fallSilent();
    expect(registry.accuse.mock.lastCall?.[2]).toMatchObject({ isLossy: true });
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await advance(62_000);
    await fallSilent();
    expect(registry.accuse.mock.lastCall?.[2]).toMatchObject({ isLossy: false });
  });

  it('is accused after two retransmissions when it is lossy, because the kernel waits longer between them', async () => {
    await startDetector();
    send();
    entry = { ...entry, retransmits: 3 };
    await advance(2000);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await advance(1000);
    send();
    entry = { ...entry, retransmits: 1 };
    await advance(10_000);
    expect(registry.accuse).not.toHaveBeenCalled();
    entry = { ...entry, retransmits: 2 };
    await advance(250);
    expect(registry.accuse).toHaveBeenCalledWith(LEASE, 'unacknowledged', {
      timerDelayMs: 0,
      minSilentMs: 4500,
      isLossy: true,
    });
  });

  it('is accused with the delay of the timer', async () => {
    await startDetector();
    send();
    entry = { ...entry, isWindowClosed: true };
    await advance(3000);
    clock.pause(20_000);
    await advance(250);
    expect(registry.accuse).toHaveBeenCalledWith(
      LEASE,
      'unacknowledged',
      expect.objectContaining({ timerDelayMs: expect.closeTo(19_000, -3) }),
    );
  });
});

describe('the table', () => {
  let readings: number;

  async function startCounting(): Promise<void> {
    readings = 0;
    await startDetector(async function* () {
      readings++;
      yield entry;
    });
  }

  it('is read only if there were retransmissions on the machine', async () => {
    readRetransmitCount.mockResolvedValue(7);
    await startCounting();
    send();
    await advance(10_000);
    expect(readings).toBe(0);
    readRetransmitCount.mockResolvedValue(8);
    await advance(3000);
    expect(readings).toBe(1);
  });

  it.each([
    ['data was retransmitted', { retransmits: 1 }],
    ['a window is closed', { isWindowClosed: true }],
  ])('is read at every check while %s', async (_what, pressed) => {
    readRetransmitCount.mockResolvedValueOnce(7).mockResolvedValueOnce(7).mockResolvedValue(8);
    await startCounting();
    await advance(1000);
    send();
    entry = { ...entry, ...pressed };
    await advance(1000);
    const soFar = readings;
    await advance(2000);
    expect(readings).toBeGreaterThanOrEqual(soFar + 2);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0, isWindowClosed: false };
    await advance(1000);
    const atRest = readings;
    await advance(10_000);
    expect(readings).toBe(atRest);
  });

  it('is read at every check if retransmissions are not counted', async () => {
    readRetransmitCount.mockResolvedValue(undefined);
    await startCounting();
    await advance(5000);
    expect(readings).toBe(5);
  });

  it('is not read while no connection is watched', async () => {
    watch = new DeadPeerDetector({
      ...{ registry, clock, events, ackTimeoutMs: 3000, readRetransmitCount },
      readTable: () => createUnreadableTable('EMFILE'),
    });
    await advance(5000);
    expect(readRetransmitCount.mock.calls.length).toBeGreaterThan(3);
    expect(events.all).toEqual([]);
  });

  it('shows a silence that began while it was not read', async () => {
    readRetransmitCount.mockResolvedValueOnce(7).mockResolvedValueOnce(7).mockResolvedValueOnce(7);
    await startCounting();
    await advance(1750);
    send();
    entry = { ...entry, retransmits: 1 };
    await advance(1250);
    entry = { ...entry, retransmits: 4 };
    await advance(2000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await advance(500);
    expect(registry.accuse).toHaveBeenCalled();
  });
});

it('does not accuse a connection that is no longer watched', async () => {
  await startDetector();
  watch.watch({ lease: asLeaseId('lease-2'), host: 'h', socket: { ...socket, destroyed: true } })();
  const { key } = entry;
  const unwatch = watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
  unwatch();
  entry = { key, unacknowledgedBytes: 33, retransmits: 5, isWindowClosed: true, retransmitTimeoutMs: 6400 };
  await advance(10_000);
  expect(registry.accuse).not.toHaveBeenCalled();
  watch.close();
  expect(clock.pending()).toEqual([]);
});

it.each(['ENOENT', 'EACCES'])('emits one event if there is no table (%s)', async (code) => {
  await startDetector(() => createUnreadableTable(code));
  await advance(3000);
  expect(events.all).toEqual([{ kind: 'dead_peer_detection_unavailable', error: `${code}: failed` }]);
  expect(clock.pending()).toEqual([]);
});

describe('a failed check', () => {
  let reason: Error | undefined;
  let looks: number;

  beforeEach(async () => {
    reason = undefined;
    looks = 0;
    await startDetector(async function* () {
      looks++;
      if (reason) throw reason;
      yield entry;
    });
  });

  it('is repeated a second later, with one event until a check succeeds', async () => {
    for (const expected of [1, 2]) {
      reason = createFailure('EMFILE');
      await advance(3000);
      const event = { kind: 'dead_peer_detection_failed', error: 'EMFILE: failed' };
      expect(events.all).toEqual(Array(expected).fill(event));
      reason = undefined;
      await advance(2000);
    }
    expect(looks).toBe(10);
  });

  it('does not count as a check that found nothing', async () => {
    readRetransmitCount.mockResolvedValueOnce(7).mockResolvedValue(8);
    await advance(1000);
    send();
    entry = { ...entry, retransmits: 1 };
    reason = createFailure('EMFILE');
    await advance(1000);
    reason = undefined;
    await advance(1000);
    expect(looks).toBe(3);
    reason = createFailure('EMFILE');
    await advance(1000);
    reason = undefined;
    entry = { ...entry, retransmits: 4 };
    await advance(3000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('does not backdate a wait to the last successful check', async () => {
    await advance(1000);
    reason = createFailure('EMFILE');
    await advance(20_000);
    reason = undefined;
    send();
    entry = { ...entry, retransmits: 4 };
    await advance(3000);
    expect(registry.accuse).not.toHaveBeenCalled();
    await advance(1000);
    expect(registry.accuse).toHaveBeenCalled();
  });

  it('for one lease does not affect the others, and is repeated for that lease', async () => {
    const other = { ...socket, remotePort: 4001 };
    watch.watch({ lease: asLeaseId('lease-2'), host: '10.0.0.2', socket: other });
    watch.close();
    watch = new DeadPeerDetector({
      ...{ registry, clock, events, ackTimeoutMs: 3000, readRetransmitCount },
      async *readTable() {
        yield entry;
        yield { ...entry, key: getTcpKey(other) as string };
      },
    });
    watch.watch({ lease: LEASE, host: '10.0.0.2', socket });
    watch.watch({ lease: asLeaseId('lease-2'), host: '10.0.0.2', socket: other });
    // An ENOENT of the store, which must not be confused with a missing table.
    const refuseFirst = async (lease: string): Promise<void> => {
      if (lease === LEASE) throw createFailure('ENOENT');
    };
    registry.accuse.mockImplementation(refuseFirst);
    registry.recordSignOfLife.mockImplementationOnce(refuseFirst);
    send();
    entry = { ...entry, retransmits: 4 };
    await advance(6000);
    const accused = registry.accuse.mock.calls.map(([lease]) => lease);
    expect(accused.filter((lease) => lease === LEASE).length).toBeGreaterThan(1);
    expect(accused).toContain('lease-2');
    const error = '1 connection could not be judged: ENOENT: failed';
    expect(events.all).toEqual([{ kind: 'dead_peer_detection_failed', error }]);
    readRetransmitCount.mockResolvedValue(1000);
    entry = { ...entry, unacknowledgedBytes: 0, retransmits: 0 };
    await advance(3000);
    expect(registry.recordSignOfLife.mock.calls).toEqual([[LEASE], ['lease-2'], [LEASE]]);
  });
});
