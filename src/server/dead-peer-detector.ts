import type { Socket } from 'node:net';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { LeaseId } from '../core/ids.js';
import type { Clock, Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { getTcpKey, type TcpEntry } from './tcp-table.js';

/** Options of a {@link DeadPeerDetector}. */
export interface DeadPeerDetectorOptions {
  readonly registry: Pick<Registry, 'accuse' | 'recordSignOfLife'>;
  readonly clock: Clock;
  readonly events: Events<ServerEvent>;
  /**
   * Minimum time without an acknowledgement after which a host can count as dead, in ms. Retransmissions must have failed,
   * too: see {@link RETRANSMITS_OF_DEAD_HOST}.
   */
  readonly ackTimeoutMs: number;
  /** Reads the machine's TCP connections. Rejects with `ENOENT` or `EACCES` where they can't be read at all. */
  readonly readTable: () => AsyncIterable<TcpEntry>;
  /** Counts the retransmission timeouts of the whole machine. Undefined where the system doesn't count them. Cheap. */
  readonly readRetransmitCount: () => Promise<number | undefined>;
}

/** A connection whose peer can die. */
export interface WatchedConnection {
  /** The lease that lasts as long as the connection. */
  readonly lease?: LeaseId | undefined;
  /** Called when the peer looks dead, for a connection without a lease. */
  readonly onDead?: (() => void) | undefined;
  /** The host of the peer. */
  readonly host: string;
  readonly socket: Pick<
    Socket,
    'destroyed' | 'bytesWritten' | 'writableLength' | 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'
  >;
}

/** Time between two checks. */
const CHECK_INTERVAL_MS = 1000;

/** Time between two checks while a watched connection is being retransmitted. */
const RETRANSMIT_CHECK_INTERVAL_MS = 250;

/**
 * Number of unanswered retransmissions that show a dead host. The kernel sends them 0.4, 0.8, 1.6 and 3.2 s after the first
 * try. An outage of 2 s swallows three of them, and a packet loss of 20% swallows four in a row about once in 15,000
 * heartbeats.
 */
const RETRANSMITS_OF_DEAD_HOST = 4;

/**
 * Number of unanswered retransmissions that are enough for a host that is known to lose packets. An outage makes the kernel
 * measure a long round trip: it then waits up to a second for the first retransmission and 16 s for the fourth. Such a host
 * is only suspected, which costs little if it is wrong.
 */
const RETRANSMITS_OF_LOSSY_HOST = 2;

/** Time for which a host that acknowledged a retransmission counts as lossy, in ms. */
const LOSSY_FOR_MS = 60_000;

/**
 * Time without a renewal that counts as silence, as a multiple of the limit. Renewals come every 3 s by default, and a lost
 * packet delays one.
 */
const RENEWAL_SILENCE_PER_ACK_TIMEOUT = 1.5;

/** The state of a watched connection. */
interface Watched extends WatchedConnection {
  /** Bytes that the kernel had taken at the start of the check. */
  sentBytes: number;
  /** The wait for an acknowledgement, if something was unacknowledged at the last check. */
  wait: Wait | undefined;
}

/** The time of a check, and how late its timer fired. */
interface Check {
  readonly nowMs: number;
  readonly timerDelayMs: number;
}

/** A period without an acknowledgement. */
interface Wait {
  /**
   * Assumed start: the last check before the wait, or the last check that saw progress. The real start can be up to one
   * check later.
   */
  sinceMs: number;
  acknowledgedBytes: number;
  retransmits: number;
  /** The kernel's retransmission timeout when the wait began. */
  retransmitTimeoutMs: number;
  isAccused: boolean;
}

/**
 * Finds dead hosts by what they don't acknowledge. A host that loses its power doesn't close its connections. Without a TTL,
 * nothing else shows that within minutes. It checks until it is closed.
 */
export class DeadPeerDetector {
  readonly #options: DeadPeerDetectorOptions;
  readonly #watched = new Map<string, Watched>();
  /** Time at which each lossy host last acknowledged a retransmission. */
  readonly #lossyAtMs = new Map<string, number>();
  #lastCheckAtMs: number;
  #retransmitCount: number | undefined;
  /** Whether a watched connection was being retransmitted, or had a closed window, when the table was last read. */
  #isAnyStalled = false;
  /** Whether the last check failed. Failures are reported once until a check succeeds. */
  #hasFailed = false;
  #cancelCheck = (): void => {};
  #isClosed = false;

  constructor(options: DeadPeerDetectorOptions) {
    this.#options = options;
    this.#lastCheckAtMs = options.clock.nowMs();
    // The first count is read before anything is watched. Otherwise the first check after a whole fleet connects would read
    // the table.
    void this.#checkAndRepeat(0);
  }

  /** Watches a connection. The returned function stops that. */
  watch({ lease, onDead, host, socket }: WatchedConnection): () => void {
    const key = getTcpKey(socket);
    if (key === undefined || socket.destroyed) return () => {};
    // Each field is named, so that all objects have the same shape.
    const watched: Watched = { lease, onDead, host, socket, sentBytes: 0, wait: undefined };
    this.#watched.set(key, watched);
    return () => {
      if (this.#watched.get(key) === watched) this.#watched.delete(key);
    };
  }

  /** Stops the checks. */
  close(): void {
    this.#isClosed = true;
    this.#cancelCheck();
  }

  #checkAfter(delayMs: number): void {
    const { clock } = this.#options;
    const dueAtMs = clock.nowMs() + delayMs;
    this.#cancelCheck = clock.schedule(delayMs, () => void this.#checkAndRepeat(clock.nowMs() - dueAtMs));
  }

  /** Runs a check, and schedules the next one even if this one failed. Stops if the system has no table. */
  async #checkAndRepeat(timerDelayMs: number): Promise<void> {
    const { clock, events } = this.#options;
    let nextAfterMs = CHECK_INTERVAL_MS;
    try {
      nextAfterMs = await this.#check({ nowMs: clock.nowMs(), timerDelayMs });
      this.#hasFailed = false;
    } catch (error) {
      if (this.#isClosed) return;
      if (isTableMissing(error)) {
        events.emit({ kind: 'dead_peer_detection_unavailable', error: getErrorMessage(error) });
        return;
      }
      if (!this.#hasFailed) events.emit({ kind: 'dead_peer_detection_failed', error: getErrorMessage(error) });
      this.#hasFailed = true;
    }
    if (!this.#isClosed) this.#checkAfter(nextAfterMs);
  }

  /**
   * Checks every watched connection. Resolves to the delay until the next check. It skips the table if no retransmission timed
   * out on this machine since the last check, or if nothing is watched: then no watched peer can be dead.
   */
  async #check(check: Check): Promise<number> {
    try {
      const count = await this.#options.readRetransmitCount();
      const isUnchanged = count !== undefined && count === this.#retransmitCount && !this.#isAnyStalled;
      const isQuiet = this.#watched.size === 0 || isUnchanged;
      const isRetransmitting = !isQuiet && (await this.#readTable(check));
      // Set only after the table was read: if reading fails, the next check must read it again.
      this.#retransmitCount = count;
      return isRetransmitting ? RETRANSMIT_CHECK_INTERVAL_MS : CHECK_INTERVAL_MS;
    } finally {
      // Updated even after a failed check, so that the next check doesn't date a new wait back to an earlier one.
      this.#lastCheckAtMs = check.nowMs;
      for (const [host, atMs] of this.#lossyAtMs) {
        if (check.nowMs - atMs > LOSSY_FOR_MS) this.#lossyAtMs.delete(host);
      }
    }
  }

  /**
   * Reads the table and judges the watched connections in it. Resolves to whether any is being retransmitted. A failure for one
   * connection doesn't stop the others from being judged; then all of them are checked again.
   */
  async #readTable(check: Check): Promise<boolean> {
    for (const watched of this.#watched.values()) {
      watched.sentBytes = watched.socket.bytesWritten - watched.socket.writableLength;
    }
    let isRetransmitting = false;
    let isStalled = false;
    const failures: unknown[] = [];
    for await (const entry of this.#options.readTable()) {
      const watched = this.#watched.get(entry.key);
      // Nearly all connections are idle.
      if (!watched || (entry.unacknowledgedBytes === 0 && !watched.wait)) continue;
      await this.#judge(watched, entry, check).catch((error) => failures.push(error));
      isRetransmitting ||= entry.retransmits > 0;
      isStalled ||= entry.retransmits > 0 || isWindowShut(entry, watched.wait);
    }
    if (failures.length > 0) throw createJudgeError(failures);
    this.#isAnyStalled = isStalled;
    return isRetransmitting;
  }

  /** Compares a connection with its state at the last check, and accuses its lease, or calls its listener, if the peer looks dead. */
  async #judge(watched: Watched, entry: TcpEntry, check: Check): Promise<void> {
    const { wait } = watched;
    const acknowledgedBytes = watched.sentBytes - entry.unacknowledgedBytes;
    if (!wait) {
      watched.wait = createWait(this.#lastCheckAtMs, acknowledgedBytes, entry);
    } else if (entry.unacknowledgedBytes === 0 || acknowledgedBytes > wait.acknowledgedBytes) {
      if (wait.retransmits > 0) this.#lossyAtMs.set(watched.host, check.nowMs);
      if (wait.isAccused && watched.lease !== undefined) await this.#options.registry.recordSignOfLife(watched.lease);
      watched.wait = entry.unacknowledgedBytes === 0 ? undefined : createWait(check.nowMs, acknowledgedBytes, entry);
    } else {
      wait.retransmits = Math.max(wait.retransmits, entry.retransmits);
      if (this.#isUnanswered(watched, wait, entry, check)) await this.#accuse(watched, wait, check);
    }
  }

  /** Returns whether a peer has left everything unacknowledged for long enough to count as dead. */
  #isUnanswered({ host, lease }: Watched, wait: Wait, entry: TcpEntry, { nowMs }: Check): boolean {
    const { ackTimeoutMs } = this.#options;
    const waitedMs = nowMs - wait.sinceMs;
    // A client without a lease that reads slowly is not dead, and its stream has limits for that.
    if (isWindowShut(entry, wait)) return lease !== undefined && waitedMs > ackTimeoutMs + CHECK_INTERVAL_MS;
    const requiredRetransmits = this.#lossyAtMs.has(host) ? RETRANSMITS_OF_LOSSY_HOST : RETRANSMITS_OF_DEAD_HOST;
    return waitedMs > ackTimeoutMs && entry.retransmits >= requiredRetransmits;
  }

  async #accuse({ lease, onDead, host }: Watched, wait: Wait, { timerDelayMs }: Check): Promise<void> {
    wait.isAccused = true;
    if (lease === undefined) return onDead?.();
    const minSilentMs = this.#options.ackTimeoutMs * RENEWAL_SILENCE_PER_ACK_TIMEOUT;
    const isLossy = this.#lossyAtMs.has(host);
    await this.#options.registry.accuse(lease, 'unacknowledged', { timerDelayMs, minSilentMs, isLossy });
  }
}

function createWait(sinceMs: number, acknowledgedBytes: number, { retransmits, retransmitTimeoutMs }: TcpEntry): Wait {
  return { sinceMs, acknowledgedBytes, retransmits, retransmitTimeoutMs, isAccused: false };
}

/**
 * Returns whether the peer is alive, but its receive window stays closed. Usually the kernel then sends window probes. If a
 * segment was in flight when the window closed, the kernel retransmits that segment instead. It doubles its timeout each
 * time, and doesn't count these as retransmissions. Source: `tcp_retransmit_timer` in the kernel's net/ipv4/tcp_timer.c.
 */
function isWindowShut({ isWindowClosed, retransmits, retransmitTimeoutMs }: TcpEntry, wait: Wait | undefined): boolean {
  return isWindowClosed || (wait !== undefined && retransmits === 0 && retransmitTimeoutMs > wait.retransmitTimeoutMs);
}

/** Returns whether the table can't be read at all: only Linux has it, and not every process has permission. */
function isTableMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'EACCES';
}

/** Wraps failures of the registry, so that their codes aren't mistaken for those of the table. */
function createJudgeError(failures: readonly unknown[]): AnyserveError {
  const [cause] = failures;
  const connections = failures.length === 1 ? 'connection' : 'connections';
  const message = `${failures.length} ${connections} could not be judged: ${getErrorMessage(cause)}`;
  return new AnyserveError('failed', message, { cause });
}
