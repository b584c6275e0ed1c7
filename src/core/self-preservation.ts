/** Accusations count together for so long. */
const WINDOW_MS = 10_000;

/** Below so many hosts there is no telling a broken network from broken hosts. */
const LEAST_HOSTS = 3;

/** A timer that comes later than this says that we stood still ourselves. */
const PAUSED_MS = 1000;

/** What to do with a replica that seems dead. */
export type Verdict = 'remove' | 'suspect';

/** Evidence from silence that a replica is dead. */
export interface Accusation {
  /** The host it is on: a dead machine takes all of its replicas along, and counts once. */
  readonly host: string;
  /** Whether it has got over silence lately. */
  readonly isLossy?: boolean;
  /** How much later than it should the timer came that brought this up. */
  readonly lateByMs: number;
  readonly nowMs: number;
  /** How many hosts hold a lease. */
  readonly hosts: number;
}

/** Told which hosts hold leases. */
export interface HostListener {
  /** A host has its first lease. */
  onHostJoin(host: string): void;
  /** A host has none any more. */
  onHostLeave(host: string): void;
}

/**
 * Keeps silence from emptying the list. When more than half of the hosts, and at least three, fall silent within 10 s,
 * it is rather the network or this server; and so it is when this server's own timers came more than 1 s late. What
 * is accused then is suspected only, and so is a host whose network is known to be bad.
 */
export interface SelfPreservation extends HostListener {
  /** What to do with a replica on a host that holds a lease. */
  judge(accusation: Accusation): Verdict;
  /** Until when silent replicas are suspected because most hosts fell silent or this server stood still. */
  readonly activeUntilMs: number;
}

/** When a host was last accused, and whether it has no lease any more. */
interface Accused {
  atMs: number;
  isGone: boolean;
}

/** A brake that has seen nothing yet. */
export function createSelfPreservation(): SelfPreservation {
  /** The hosts accused in the window, the one that was last accused last. */
  const accused = new Map<string, Accused>();
  /** How many of them are gone. They are counted as they go: when a whole fleet falls silent, each of its hosts is judged. */
  let gone = 0;
  let pausedAtMs = Number.NEGATIVE_INFINITY;
  let activeUntilMs = Number.NEGATIVE_INFINITY;

  function setGone(host: string, isGone: boolean): void {
    const known = accused.get(host);
    if (!known || known.isGone === isGone) return;
    known.isGone = isGone;
    gone += isGone ? 1 : -1;
  }

  function forget(host: string): void {
    setGone(host, false);
    accused.delete(host);
  }

  return {
    get activeUntilMs() {
      return activeUntilMs;
    },
    onHostJoin: (host) => setGone(host, false),
    onHostLeave: (host) => setGone(host, true),
    judge({ host, isLossy = false, lateByMs, nowMs, hosts }) {
      if (lateByMs > PAUSED_MS) pausedAtMs = nowMs;
      forget(host);
      accused.set(host, { atMs: nowMs, isGone: false });
      for (const [old, { atMs }] of accused) {
        if (nowMs - atMs <= WINDOW_MS) break;
        forget(old);
      }
      const isMost = accused.size >= LEAST_HOSTS && accused.size > (hosts + gone) / 2;
      const isPaused = nowMs - pausedAtMs <= WINDOW_MS;
      if (isMost) activeUntilMs = nowMs + WINDOW_MS;
      else if (isPaused) activeUntilMs = Math.max(activeUntilMs, pausedAtMs + WINDOW_MS);
      return isLossy || isMost || isPaused ? 'suspect' : 'remove';
    },
  };
}
