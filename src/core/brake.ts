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
  /** The hosts of all replicas that hold a lease. */
  readonly hosts: { readonly size: number; has(host: string): boolean };
}

/**
 * Keeps silence from emptying the list. When more than half of the hosts, and at least three, fall silent within 10 s,
 * it is rather the network or this server; and so it is when this server's own timers came more than 1 s late. What
 * is accused then is suspected only, and so is a host whose network is known to be bad.
 */
export interface Brake {
  judge(accusation: Accusation): Verdict;
}

/** A brake that has seen nothing yet. */
export function createBrake(): Brake {
  /** When each host was last accused; those of the window, oldest first. */
  const accused = new Map<string, number>();
  let pausedAtMs = Number.NEGATIVE_INFINITY;
  return {
    judge({ host, isLossy = false, lateByMs, nowMs, hosts }) {
      if (lateByMs > PAUSED_MS) pausedAtMs = nowMs;
      accused.delete(host);
      accused.set(host, nowMs);
      for (const [old, atMs] of accused) {
        if (nowMs - atMs <= WINDOW_MS) break;
        accused.delete(old);
      }
      const gone = [...accused.keys()].filter((name) => !hosts.has(name)).length;
      const known = hosts.size + gone;
      const isMost = accused.size >= LEAST_HOSTS && accused.size > known / 2;
      return isLossy || isMost || nowMs - pausedAtMs <= WINDOW_MS ? 'suspect' : 'remove';
    },
  };
}
