import type { Clock } from '../core/ports.js';

/** A member of a heartbeat wheel. */
export interface HeartbeatMember {
  /** Sends a heartbeat. */
  beat(): void;
}

/** A timer wheel that calls its members once per heartbeat interval. */
export interface HeartbeatWheel {
  /** Adds a member. Its first heartbeat is one interval from now. The returned function removes it. */
  join(member: HeartbeatMember): () => void;
}

/** Options of a heartbeat wheel. */
export interface HeartbeatWheelOptions {
  readonly clock: Clock;
  /** Time between two heartbeats of a member, in ms. */
  readonly intervalMs: number;
}

/** Duration of a slot. Each slot with members needs a timer, and 200 timers per second cost next to nothing. */
const SLOT_MS = 5;

/**
 * Number of heartbeats of a slot per turn of the event loop. Each is a system call, and requests must not wait for all
 * of them. With 10,000 members and an interval of 5 s, a slot has ten.
 */
const BEATS_PER_TURN = 4;

/** Minimum number of slots. A first heartbeat is early by at most one slot, so by at most a tenth of the interval. */
const MIN_SLOTS = 10;

/**
 * Creates a heartbeat wheel. It spreads the heartbeats over the interval: each member has a slot, and the members of a
 * slot beat one after the other, a few per turn of the event loop. One timer per member would do the same until the
 * process stalls once. Then all timers are due at the same time, and remain so at every interval.
 */
export function createHeartbeatWheel({ clock, intervalMs }: HeartbeatWheelOptions): HeartbeatWheel {
  const slots = Array.from(
    { length: Math.max(MIN_SLOTS, Math.ceil(intervalMs / SLOT_MS)) },
    () => new Set<HeartbeatMember>(),
  );
  const slotMs = intervalMs / slots.length;
  const startedAtMs = clock.nowMs();
  let members = 0;
  /** The number of the next slot, counted from the start over all rounds. */
  let nextTick = 0;
  let cancelTimer = (): void => {};

  const getSlot = (tick: number): Set<HeartbeatMember> => slots[tick % slots.length] as Set<HeartbeatMember>;
  const getCurrentTick = (): number => Math.floor((clock.nowMs() - startedAtMs) / slotMs);

  function scheduleNextSlot(): void {
    // A member that has missed several heartbeats sends one.
    nextTick = Math.max(nextTick, getCurrentTick() - slots.length + 1);
    while (getSlot(nextTick).size === 0) nextTick++;
    cancelTimer();
    cancelTimer = clock.schedule(Math.max(0, startedAtMs + nextTick * slotMs - clock.nowMs()), () => {
      const slot = getSlot(nextTick++);
      beatSlot(slot, [...slot]);
    });
  }

  /** Calls the members that were in the slot when it was due, except those that have left since. */
  function beatSlot(slot: ReadonlySet<HeartbeatMember>, due: readonly HeartbeatMember[]): void {
    for (const member of due.slice(0, BEATS_PER_TURN)) if (slot.has(member)) member.beat();
    const rest = due.slice(BEATS_PER_TURN);
    if (rest.length > 0) cancelTimer = clock.schedule(0, () => beatSlot(slot, rest));
    else if (members > 0) scheduleNextSlot();
  }

  return {
    join(member) {
      // A timer can fire slightly before the clock reaches its slot. Never join a slot that has already run.
      const tick = Math.max(getCurrentTick() + slots.length, members > 0 ? nextTick : 0);
      const slot = getSlot(tick).add(member);
      if (++members === 1) {
        nextTick = tick;
        scheduleNextSlot();
      }
      return () => {
        if (slot.delete(member) && --members === 0) cancelTimer();
      };
    },
  };
}
