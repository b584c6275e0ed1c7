/** Time window in which silent hosts are counted, in ms. */
const WINDOW_MS = 10_000;

/** Minimum number of silent hosts for a mass failure. With fewer, a broken network looks the same as broken hosts. */
const MIN_SILENT_HOSTS = 3;

/** Minimum delay of a timer that shows that this process itself was paused, in ms. */
const PAUSE_THRESHOLD_MS = 1000;

/** Decision about a replica that seems dead. */
export type Verdict = 'remove' | 'suspect';

/** Number of hosts that hold leases or lost their last one within 10 s, and how many of them fell silent within 10 s. */
export interface HostCounts {
  readonly hosts: number;
  readonly silent: number;
}

/** Evidence from silence that a replica is dead. */
export interface Accusation {
  /** Host of the replica. A dead host takes all its replicas with it and counts once. */
  readonly host: string;
  /** Whether the host recently acknowledged a retransmission, so that its network loses packets. Default: false. */
  readonly isLossy?: boolean;
  /** Delay of the timer that found the silence, in ms. */
  readonly timerDelayMs: number;
  readonly nowMs: number;
  /** Number of hosts that hold a lease at this server. */
  readonly hosts: number;
  /**
   * The hosts of the other servers of a shared registry. A host with leases at two servers is counted twice, in both numbers.
   * Default: none.
   */
  readonly others?: HostCounts | undefined;
}

/** Listener for the hosts that hold leases. */
export interface HostListener {
  /** Called when a host gets its first lease. */
  onHostJoin(host: string): void;
  /** Called when a host has lost its last lease. */
  onHostLeave(host: string): void;
}

/**
 * Self-preservation, as in Netflix Eureka: prevents a mass failure from emptying the registry. If more than half of the hosts, and
 * at least three, fall silent within 10 s, the likely cause is the network or this server. The same is true if this server's own
 * timers run more than 1 s late. A server with fewer than three hosts counts those of the other servers of its registry too, or it
 * could never recognize a mass failure. Silent replicas are then suspected instead of removed. A replica on a host with a lossy network
 * is always suspected instead of removed.
 */
export interface SelfPreservation extends HostListener {
  /** Decides what to do with a silent replica. Its host must hold a lease. */
  judge(accusation: Accusation): Verdict;
  /** Counts the hosts, for the other servers of a shared registry. `hosts` is the number of hosts that hold a lease. */
  countHosts(hosts: number, nowMs: number): HostCounts;
  /** Monotonic time until which self-preservation is active. A past time means that it is off. */
  readonly activeUntilMs: number;
}

/** Time of the last accusation of a host, and whether the host has lost its last lease. */
interface Accused {
  atMs: number;
  isGone: boolean;
}

/** Creates self-preservation in its inactive state. */
export function createSelfPreservation(): SelfPreservation {
  /** The hosts accused in the window, in the order of their last accusation. */
  const accused = new Map<string, Accused>();
  /** Number of accused hosts without a lease. A running count, because `judge` is called for each host of a silent fleet. */
  let goneHosts = 0;
  let pausedAtMs = Number.NEGATIVE_INFINITY;
  let activeUntilMs = Number.NEGATIVE_INFINITY;

  function setGone(host: string, isGone: boolean): void {
    const known = accused.get(host);
    if (!known || known.isGone === isGone) return;
    known.isGone = isGone;
    goneHosts += isGone ? 1 : -1;
  }

  function forget(host: string): void {
    setGone(host, false);
    accused.delete(host);
  }

  function countHosts(hosts: number, nowMs: number): HostCounts {
    for (const [old, { atMs }] of accused) {
      if (nowMs - atMs <= WINDOW_MS) break;
      forget(old);
    }
    return { hosts: hosts + goneHosts, silent: accused.size };
  }

  return {
    countHosts,
    get activeUntilMs() {
      return activeUntilMs;
    },
    onHostJoin: (host) => setGone(host, false),
    onHostLeave: (host) => setGone(host, true),
    judge({ host, isLossy = false, timerDelayMs, nowMs, hosts, others }) {
      if (timerDelayMs > PAUSE_THRESHOLD_MS) pausedAtMs = nowMs;
      forget(host);
      accused.set(host, { atMs: nowMs, isGone: false });
      const isMassFailure = isMost(countHosts(hosts, nowMs), others);
      const isPaused = nowMs - pausedAtMs <= WINDOW_MS;
      if (isMassFailure) activeUntilMs = nowMs + WINDOW_MS;
      else if (isPaused) activeUntilMs = Math.max(activeUntilMs, pausedAtMs + WINDOW_MS);
      return isLossy || isMassFailure || isPaused ? 'suspect' : 'remove';
    },
  };
}

/** Returns whether most hosts fell silent: those of this server, or of all servers if this one has too few to judge. */
function isMost(own: HostCounts, others: HostCounts = { hosts: 0, silent: 0 }): boolean {
  const isAlone = own.hosts >= MIN_SILENT_HOSTS;
  const silent = isAlone ? own.silent : own.silent + others.silent;
  const hosts = isAlone ? own.hosts : own.hosts + others.hosts;
  return silent >= MIN_SILENT_HOSTS && silent > hosts / 2;
}
