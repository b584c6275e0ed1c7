import { describe, expect, it } from 'vitest';
import { SearchTurns } from '../../src/server/search-turns.js';
import { ManualClock } from '../support/manual-clock.js';

function start() {
  const clock = new ManualClock();
  const turns = new SearchTurns(clock);
  let done = 0;
  const search = (ms: number): boolean => turns.run(() => clock.pause(ms)).isFast;
  /** Searches as the handler does. */
  const request = (ms: number): boolean => {
    if (turns.isFree) search(ms);
    else {
      const turn = turns.runLater(() => void search(ms));
      if (!turn) return false;
      void turn.then(() => done++);
    }
    return true;
  };
  /** Lets time pass in steps of 1 ms. */
  const pass = async (ms: number): Promise<void> => {
    const endMs = clock.nowMs() + ms;
    while (clock.nowMs() < endMs) {
      clock.advance(1);
      await new Promise(setImmediate);
    }
  };
  return { clock, turns, search, request, pass, done: () => done };
}

describe('searches', () => {
  it('are not counted if they are short', () => {
    const { turns, search } = start();
    for (let n = 0; n < 10_000; n++) expect(search(0.2)).toBe(true);
    expect(turns.isFree).toBe(true);
  });

  it('run at once up to 100 ms if they are long, then for a quarter of the time', async () => {
    const { clock, turns, search, request, pass, done } = start();
    for (let n = 0; n < 20; n++) {
      expect(turns.isFree).toBe(true);
      expect(search(5)).toBe(false);
    }
    for (let n = 0; n < 10; n++) search(5);
    expect(turns.isFree).toBe(false);
    for (let n = 0; n < 200; n++) expect(request(5)).toBe(true);
    const startedAtMs = clock.nowMs();
    await pass(2000);
    expect((done() * 5) / (clock.nowMs() - startedAtMs)).toBeGreaterThan(0.2);
    expect((done() * 5) / (clock.nowMs() - startedAtMs)).toBeLessThan(0.26);
  });

  it('are refused when too many wait, and are free again when all have run', async () => {
    const { turns, search, request, pass } = start();
    search(200);
    expect(Array.from({ length: 300 }, () => request(1)).filter((accepted) => accepted)).toHaveLength(256);
    await pass(3000);
    expect(turns.isFree).toBe(true);
  });
});
