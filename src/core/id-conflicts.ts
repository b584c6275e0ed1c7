import type { ReplicaId } from './ids.js';

/** Time window in which takeovers of one id are counted, in ms. */
const WINDOW_MS = 60_000;

/** Maximum number of takeovers per window that restarts can explain. With more, two processes probably use the same id. */
const MAX_TAKEOVERS = 5;

/** Counts how often newer registrations take over an id that is in use. */
export interface IdConflicts {
  /** Records a takeover. Returns true if it makes a conflict, at most once per window. */
  recordTakeover(id: ReplicaId, nowMs: number): boolean;
}

/** Creates a counter without takeovers. */
export function createIdConflicts(): IdConflicts {
  /** The current window of each id. The oldest window is first. */
  const windows = new Map<ReplicaId, { readonly sinceMs: number; count: number }>();
  return {
    recordTakeover(id, nowMs) {
      for (const [old, { sinceMs }] of windows) {
        if (nowMs - sinceMs <= WINDOW_MS) break;
        windows.delete(old);
      }
      const window = windows.get(id) ?? { sinceMs: nowMs, count: 0 };
      windows.set(id, window);
      return ++window.count === MAX_TAKEOVERS + 1;
    },
  };
}
