import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { createHeartbeatWheel, type HeartbeatWheel } from '../../src/server/heartbeat-wheel.js';
import { ManualClock } from '../support/manual-clock.js';

const EVERY_MS = 2000;
const SLOT_MS = 5;

let clock: ManualClock;
let heartbeats: HeartbeatWheel;

/** A member that records when it beats. */
function createMember(): { beats: number[]; leave: () => void } {
  const beats: number[] = [];
  return { beats, leave: heartbeats.join({ beat: () => beats.push(clock.nowMs()) }) };
}

beforeEach(() => {
  clock = new ManualClock();
  heartbeats = createHeartbeatWheel({ clock, intervalMs: EVERY_MS });
});

describe('a member of the wheel', () => {
  it('beats first one interval after it joined, at most one slot early, and then at every interval', () => {
    fc.assert(
      fc.property(
        // With these intervals slots have no rounding errors, so that the order of slots and joins is exact.
        fc.integer({ min: 1, max: 2000 }).map((n) => 5 * n),
        fc.array(fc.integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 20 }),
        (intervalMs, gapsMs) => {
          clock = new ManualClock();
          heartbeats = createHeartbeatWheel({ clock, intervalMs });
          const slotMs = Math.min(SLOT_MS, intervalMs / 10);
          const members = gapsMs.map((gapMs) => {
            clock.advance(gapMs);
            return { joinedAtMs: clock.nowMs(), ...createMember() };
          });
          clock.advance(3 * intervalMs + 0.001);
          for (const { joinedAtMs, beats } of members) {
            const [first = Number.NaN, ...others] = beats;
            expect(first).toBeGreaterThanOrEqual(joinedAtMs + intervalMs - slotMs - 0.001);
            expect(first).toBeLessThanOrEqual(joinedAtMs + intervalMs + 0.001);
            for (const [at, beatMs] of others.entries())
              expect(beatMs - (beats[at] as number)).toBeCloseTo(intervalMs, 3);
            expect(beats.length).toBeGreaterThanOrEqual(3);
          }
        },
      ),
      // In the example, a member joins at the time of a beat, and rounding puts it before the slot of the beat.
      { numRuns: 50, examples: [[11, [1177, 957]]] },
    );
  });

  it('stops when it leaves, and the last one cancels the timer', () => {
    const [one, other] = [createMember(), createMember()];
    clock.advance(EVERY_MS);
    one.leave();
    one.leave();
    clock.advance(EVERY_MS);
    expect([one.beats.length, other.beats.length]).toEqual([1, 2]);
    other.leave();
    expect(clock.pending()).toEqual([]);
    const late = createMember();
    clock.advance(EVERY_MS);
    expect(late.beats).toHaveLength(1);
  });

  it('can leave while it beats', () => {
    let beats = 0;
    const leave = heartbeats.join({
      beat() {
        beats++;
        leave();
      },
    });
    clock.advance(3 * EVERY_MS);
    expect(beats).toBe(1);
    expect(clock.pending()).toEqual([]);
  });
});

describe('many members of one slot', () => {
  beforeEach(() => {
    // Otherwise all turns would happen at the same time of the clock.
    const schedule = clock.schedule.bind(clock);
    clock.schedule = (delayMs, run) => schedule(Math.max(delayMs, 0.01), run);
  });

  it('beat in small batches, one batch per turn of the event loop', () => {
    const members = Array.from({ length: 10 }, createMember);
    const countBeating = (): number => members.filter(({ beats }) => beats.length > 0).length;
    clock.advance(EVERY_MS);
    expect(countBeating()).toBe(4);
    clock.advance(0.01);
    expect(countBeating()).toBe(8);
    clock.advance(0.01);
    expect(countBeating()).toBe(10);
    clock.advance(EVERY_MS + 0.1);
    for (const { beats } of members) expect(beats).toHaveLength(2);
  });

  it('stop when they leave between two turns', () => {
    const members = Array.from({ length: 10 }, createMember);
    clock.advance(EVERY_MS);
    for (const { leave } of members.slice(2)) leave();
    clock.advance(EVERY_MS);
    expect(members.map(({ beats }) => beats.length)).toEqual([2, 2, 1, 1, 0, 0, 0, 0, 0, 0]);
    for (const { leave } of members) leave();
    expect(clock.pending()).toEqual([]);
  });

  it('can all leave between two turns, and the wheel works for the next member', () => {
    const members = Array.from({ length: 10 }, createMember);
    clock.advance(EVERY_MS);
    for (const { leave } of members) leave();
    expect(clock.pending()).toEqual([]);
    const late = createMember();
    clock.advance(3 * EVERY_MS);
    expect(late.beats).toHaveLength(3);
  });
});

describe('a wheel after a stall of the process', () => {
  it('lets each member beat once, slot by slot, and then continues as before', () => {
    const members = Array.from({ length: 50 }, () => {
      clock.advance(SLOT_MS);
      return createMember();
    });
    clock.advance(EVERY_MS);
    for (const { beats } of members) beats.length = 0;
    const wokenAtMs = clock.nowMs() + 10 * EVERY_MS;
    let turns = 0;
    const schedule = clock.schedule.bind(clock);
    clock.schedule = (delayMs, run) => {
      if (delayMs === 0) turns++;
      return schedule(delayMs, run);
    };
    clock.pause(10 * EVERY_MS);
    expect(members.filter(({ beats }) => beats.length === 1 && beats[0] === wokenAtMs).length).toBeGreaterThan(48);
    expect(turns).toBeGreaterThan(45);
    clock.advance(2 * EVERY_MS);
    for (const { beats } of members) expect(beats.length).toBeLessThanOrEqual(4);
    const lastGaps = members.map(({ beats }) => (beats.at(-1) as number) - (beats.at(-2) as number));
    expect(new Set(lastGaps)).toEqual(new Set([EVERY_MS]));
  });
});
