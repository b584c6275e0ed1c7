import type { ReplicaId } from './ids.js';

/** Takeovers of one id count together for so long. */
const WINDOW_MS = 60_000;

/** So many takeovers of one id in a window may be restarts; more are two processes that fight for it. */
const MOST = 5;

/** Counts how often newer registrations take ids from those that hold them. */
export interface IdConflicts {
  /** Notes one; true when it is time to call it a conflict, once a window. */
  note(id: ReplicaId, nowMs: number): boolean;
}

/** No takeovers yet. */
export function createIdConflicts(): IdConflicts {
  /** The ids of the window, by its begin, oldest first. */
  const windows = new Map<ReplicaId, { readonly sinceMs: number; count: number }>();
  return {
    note(id, nowMs) {
      for (const [old, { sinceMs }] of windows) {
        if (nowMs - sinceMs <= WINDOW_MS) break;
        windows.delete(old);
      }
      const window = windows.get(id) ?? { sinceMs: nowMs, count: 0 };
      windows.set(id, window);
      return ++window.count === MOST + 1;
    },
  };
}
