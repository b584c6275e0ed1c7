import { expect } from 'vitest';

/** The least time that a task takes of several runs, in milliseconds: what is more is other work of the machine. */
export async function leastMs(task: () => unknown, runs: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const startedAtMs = performance.now();
    await task();
    least = Math.min(least, performance.now() - startedAtMs);
  }
  return least;
}

/** The same for a task that does not wait, in the time of this process's own work, which other processes do not prolong. */
function leastCpuMs(task: () => unknown, runs: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const before = process.cpuUsage();
    task();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

/** A time too short to tell its growth from noise. */
const NEGLIGIBLE_MS = 3;

/** For four times the length linear work takes four times as long, and quadratic work sixteen times. */
const TIMES = 4;
const MAX_GROWTH = 10;

/**
 * Expects that a task takes time linear in the length of its input. Measures a length and four times that; a growth that is
 * too large is measured again, because it can be that of a garbage collection.
 */
export function expectLinearTime(make: (length: number) => () => unknown, length: number): void {
  const [short, long] = [make(length), make(TIMES * length)];
  let shortMs = Number.POSITIVE_INFINITY;
  let longMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 6; attempt++) {
    longMs = Math.min(longMs, leastCpuMs(long, 4));
    if (longMs <= NEGLIGIBLE_MS) return;
    shortMs = Math.min(shortMs, leastCpuMs(short, 4));
    if (longMs <= MAX_GROWTH * shortMs) return;
  }
  expect(longMs / shortMs, `${shortMs} ms, and ${longMs} ms for ${TIMES} times the length`).toBeLessThan(MAX_GROWTH);
}
