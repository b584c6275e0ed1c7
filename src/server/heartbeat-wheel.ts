import type { Clock } from '../core/ports.js';

/** Who says at every heartbeat that it is still there. */
export interface HeartbeatMember {
  beat(): void;
}

/** A wheel of heartbeats. */
export interface HeartbeatWheel {
  /** Has somebody beat at every interval from now on, the first time one interval from now; the returned function ends it. */
  join(one: HeartbeatMember): () => void;
}

/** What a wheel of heartbeats needs. */
export interface HeartbeatWheelOptions {
  readonly clock: Clock;
  /** The time between two beats of one member, in milliseconds. */
  readonly everyMs: number;
}

/** Each slot with members has a timer: 200 a second cost next to nothing. */
const SLOT_MS = 5;

/** So many of a slot beat before what has arrived has its turn: each is a system call. Of 10,000 in 5 s a slot has ten. */
const BEATS_A_TURN = 4;

/** However short the interval, it has so many slots: a first beat comes early by one of them at most. */
const LEAST_SLOTS = 10;

/**
 * Spreads heartbeats over the interval: each member has a slot of it, and those of one slot beat one after the other, a few
 * a turn of the event loop. A timer each would do the same until the process stands still for once: then all are due at
 * once, and at every interval from then on.
 */
export function createHeartbeatWheel({ clock, everyMs }: HeartbeatWheelOptions): HeartbeatWheel {
  const slots = Array.from(
    { length: Math.max(LEAST_SLOTS, Math.ceil(everyMs / SLOT_MS)) },
    () => new Set<HeartbeatMember>(),
  );
  const slotMs = everyMs / slots.length;
  const beganAtMs = clock.nowMs();
  let members = 0;
  /** The slots are gone through in turns, over and over. */
  let nextTurn = 0;
  let cancelTurn = (): void => {};

  const slotOf = (turn: number): Set<HeartbeatMember> => slots[turn % slots.length] as Set<HeartbeatMember>;
  const turnNow = (): number => Math.floor((clock.nowMs() - beganAtMs) / slotMs);

  function awaitTurn(): void {
    // Who has missed several beats is due for one.
    nextTurn = Math.max(nextTurn, turnNow() - slots.length + 1);
    while (slotOf(nextTurn).size === 0) nextTurn++;
    cancelTurn();
    cancelTurn = clock.schedule(Math.max(0, beganAtMs + nextTurn * slotMs - clock.nowMs()), () => {
      const slot = slotOf(nextTurn++);
      beatOn(slot, [...slot]);
    });
  }

  /** Has those of a slot beat that were in it at its turn, but for those that have left since. */
  function beatOn(slot: ReadonlySet<HeartbeatMember>, due: readonly HeartbeatMember[]): void {
    for (const one of due.slice(0, BEATS_A_TURN)) if (slot.has(one)) one.beat();
    const left = due.slice(BEATS_A_TURN);
    if (left.length > 0) cancelTurn = clock.schedule(0, () => beatOn(slot, left));
    else if (members > 0) awaitTurn();
  }

  return {
    join(one) {
      // The timer may fire just before its turn by the clock; never join a turn that has already run.
      const turn = Math.max(turnNow() + slots.length, members > 0 ? nextTurn : 0);
      const slot = slotOf(turn).add(one);
      if (++members === 1) {
        nextTurn = turn;
        awaitTurn();
      }
      return () => {
        if (slot.delete(one) && --members === 0) cancelTurn();
      };
    },
  };
}
