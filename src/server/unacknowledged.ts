import type { Socket } from 'node:net';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { LeaseId } from '../core/ids.js';
import type { Clock, Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { type TcpEntry, tcpKeyOf } from './tcp-table.js';

/** What the watch over unacknowledged bytes needs. */
export interface UnacknowledgedOptions {
  readonly registry: Pick<Registry, 'accuse' | 'seen'>;
  readonly clock: Clock;
  readonly events: Events<ServerEvent>;
  /** How long nothing of what was sent may be acknowledged, in milliseconds. */
  readonly limitMs: number;
  /** The machine's connections; rejects with `ENOENT` or `EACCES` where they cannot be had at all. */
  readonly readTable: () => AsyncIterable<TcpEntry>;
  /** How often any of them has waited in vain; undefined where that is not counted. Costs little. */
  readonly countVainWaits: () => Promise<number | undefined>;
}

/** The connection of a lease, to be watched. */
export interface WatchedLease {
  readonly lease: LeaseId;
  /** The host at the other end. */
  readonly host: string;
  readonly socket: Pick<
    Socket,
    'destroyed' | 'bytesWritten' | 'writableLength' | 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'
  >;
}

/** Finds dead hosts by what they do not acknowledge: nothing else tells within minutes that one has lost its power. */
export interface UnacknowledgedWatch {
  /** Watches a lease's connection; the returned function ends that. */
  watch(watched: WatchedLease): () => void;
  close(): void;
}

/** The time between two looks; shorter while something had to be sent again. */
const LOOK_EVERY_MS = 1000;
const LOOK_AGAIN_MS = 250;

/**
 * So many retransmissions without an answer are the sign of a dead host: the kernel makes them 0.4, 0.8, 1.6 and 3.2 s
 * after the first try. An outage of 2 s swallows three of them, and one packet lost in five swallows four in a row
 * about once in 15,000 heartbeats.
 */
const RETRANSMITS_OF_THE_DEAD = 4;

/**
 * And so many of one that is known to lose packets: what an outage has the kernel measure lets it wait up to a second for
 * the first and 16 s for the fourth. Such a host is suspected only, which costs little when it is wrong.
 */
const RETRANSMITS_OF_THE_LOSSY = 2;

/** A host that answered a retransmission is known for so long to be one that loses packets, and is only suspected. */
const LOSSY_FOR_MS = 60_000;

/** Renewals come every 3 s unless told otherwise, and a lost packet holds one up: so many limits without one are silence. */
const RENEWED_SINCE = 1.5;

/** What is known of a watched connection. */
interface Watched extends WatchedLease {
  /** Its bytes that the kernel had at the begin of the look. */
  sentBytes: number;
  /** What it waits for, if at the last look something was unacknowledged. */
  wait: Wait | undefined;
}

/** When a look was taken, and how late. */
interface Look {
  readonly nowMs: number;
  readonly lateByMs: number;
}

interface Wait {
  /** The last look before it, or the last that saw more of it acknowledged; it began up to a look later. */
  sinceMs: number;
  acknowledgedBytes: number;
  retransmits: number;
  /** The kernel's retransmission timeout when the wait began. */
  retransmitAfterMs: number;
  isAccused: boolean;
}

/** A watch over no connection yet. It looks for as long as it is not closed. */
export function watchUnacknowledged(options: UnacknowledgedOptions): UnacknowledgedWatch {
  const { registry, clock, events, limitMs, readTable, countVainWaits } = options;
  const watches = new Map<string, Watched>();
  const lossyAtMs = new Map<string, number>();
  let lastLookAtMs = clock.nowMs();
  let vainWaits: number | undefined;
  /** Whether, at the last reading, one of the watched waited for an answer to what was sent again, or for room. */
  let isAnyPressed = false;
  /** Whether the last look failed: one warning is enough until one succeeds. */
  let hasFailed = false;
  let cancelLook = (): void => {};
  let isClosed = false;

  function lookIn(delayMs: number): void {
    const dueAtMs = clock.nowMs() + delayMs;
    cancelLook = clock.schedule(delayMs, () => void lookOnAndOn(clock.nowMs() - dueAtMs));
  }

  /** Looks, and then again, also after a look that failed; never again where there is no table. */
  async function lookOnAndOn(lateByMs: number): Promise<void> {
    let nextInMs = LOOK_EVERY_MS;
    try {
      nextInMs = await look({ nowMs: clock.nowMs(), lateByMs });
      hasFailed = false;
    } catch (error) {
      if (isClosed) return;
      if (isOfNoTable(error)) {
        events.emit({ kind: 'dead_peer_detection_unavailable', error: messageOf(error) });
        return;
      }
      if (!hasFailed) events.emit({ kind: 'dead_peer_detection_failed', error: messageOf(error) });
      hasFailed = true;
    }
    if (!isClosed) lookIn(nextInMs);
  }

  /**
   * Looks at every watched connection; resolves to the time until the next look. Where nothing on this machine has
   * waited in vain since the last one, or none is watched yet, nobody can be accused of anything, and the table is not read.
   */
  async function look(at: Look): Promise<number> {
    try {
      const counted = await countVainWaits();
      const isQuiet = watches.size === 0 || (counted !== undefined && counted === vainWaits && !isAnyPressed);
      const isAnyResent = !isQuiet && (await readAll(at));
      // Not before the table was read: a look that failed would have the next one taken for quiet.
      vainWaits = counted;
      return isAnyResent ? LOOK_AGAIN_MS : LOOK_EVERY_MS;
    } finally {
      // Of one that failed, too: what began to wait since the last that saw something may have done so only now.
      lastLookAtMs = at.nowMs;
      for (const [host, atMs] of lossyAtMs) if (at.nowMs - atMs > LOSSY_FOR_MS) lossyAtMs.delete(host);
    }
  }

  /**
   * Notes what the table says of the watched connections; whether on any something was sent again. What cannot be noted
   * of one keeps none of the others from being looked at; then all are looked at again.
   */
  async function readAll(at: Look): Promise<boolean> {
    for (const watched of watches.values()) {
      watched.sentBytes = watched.socket.bytesWritten - watched.socket.writableLength;
    }
    let isAnyResent = false;
    let isPressed = false;
    const failures: unknown[] = [];
    for await (const entry of readTable()) {
      const watched = watches.get(entry.key);
      // An idle connection, as nearly all are.
      if (!watched || (entry.unacknowledgedBytes === 0 && !watched.wait)) continue;
      await note(watched, entry, at).catch((error) => failures.push(error));
      isAnyResent ||= entry.retransmits > 0;
      isPressed ||= entry.retransmits > 0 || isShut(entry, watched.wait);
    }
    if (failures.length > 0) throw notNoted(failures);
    isAnyPressed = isPressed;
    return isAnyResent;
  }

  /** Compares a connection with what it was at the last look, and decides. */
  async function note(watched: Watched, entry: TcpEntry, at: Look): Promise<void> {
    const { lease, host, sentBytes, wait } = watched;
    const acknowledgedBytes = sentBytes - entry.unacknowledgedBytes;
    const { retransmits, retransmitAfterMs } = entry;
    if (!wait) {
      watched.wait = { sinceMs: lastLookAtMs, acknowledgedBytes, retransmits, retransmitAfterMs, isAccused: false };
      return;
    }
    if (entry.unacknowledgedBytes === 0 || acknowledgedBytes > wait.acknowledgedBytes) {
      if (wait.retransmits > 0) lossyAtMs.set(host, at.nowMs);
      if (wait.isAccused) await registry.seen(lease);
      const rest = { sinceMs: at.nowMs, acknowledgedBytes, retransmits, retransmitAfterMs, isAccused: false };
      watched.wait = entry.unacknowledgedBytes === 0 ? undefined : rest;
      return;
    }
    wait.retransmits = Math.max(wait.retransmits, retransmits);
    const waitedMs = at.nowMs - wait.sinceMs;
    const isLossy = lossyAtMs.has(host);
    const isUnanswered = isShut(entry, wait)
      ? waitedMs > limitMs + LOOK_EVERY_MS
      : waitedMs > limitMs && retransmits >= (isLossy ? RETRANSMITS_OF_THE_LOSSY : RETRANSMITS_OF_THE_DEAD);
    if (!isUnanswered) return;
    wait.isAccused = true;
    const { lateByMs } = at;
    const forMs = limitMs * RENEWED_SINCE;
    await registry.accuse(lease, 'unacknowledged', { lateByMs, forMs, isLossy });
  }

  // Before anyone is watched, so that the first of a whole fleet that comes at once do not have the table read.
  void lookOnAndOn(0);
  return {
    watch({ lease, host, socket }) {
      const key = tcpKeyOf(socket);
      if (key === undefined || socket.destroyed) return () => {};
      // Each field is named, so that all are of one shape.
      const watched: Watched = { lease, host, socket, sentBytes: 0, wait: undefined };
      watches.set(key, watched);
      return () => {
        if (watches.get(key) === watched) watches.delete(key);
      };
    },
    close() {
      isClosed = true;
      cancelLook();
    },
  };
}

/**
 * Whether the other end takes nothing more, though it answers. Usually the kernel probes its closed window. Where a segment
 * was on its way when the window closed, the kernel sends that one again and again, doubles its timeout each time, and
 * does not count it as a retransmission. Source: `tcp_retransmit_timer` in the kernel's net/ipv4/tcp_timer.c.
 */
function isShut({ isWindowClosed, retransmits, retransmitAfterMs }: TcpEntry, wait: Wait | undefined): boolean {
  return isWindowClosed || (wait !== undefined && retransmits === 0 && retransmitAfterMs > wait.retransmitAfterMs);
}

/** Whether a failure says that connections cannot be seen here at all: only Linux has the table, and not everyone may read it. */
function isOfNoTable(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'EACCES';
}

/** An error of its own: what the registry fails with says nothing of the table. */
function notNoted(failures: readonly unknown[]): AnyserveError {
  const [cause] = failures;
  const message = `${failures.length} of what it saw could not be noted: ${messageOf(cause)}`;
  return new AnyserveError('failed', message, { cause });
}
