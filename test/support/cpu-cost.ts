import { expect } from 'vitest';

/** Starts to measure the CPU time of this process, in ms. Other processes don't add to it. */
function startCpuTimer(): () => number {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
}

/** Returns the lowest CPU time of several runs of an asynchronous task, in ms. */
export async function measureLeastAsyncCpuMs(task: () => Promise<unknown>, runs: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const elapsedMs = startCpuTimer();
    await task();
    least = Math.min(least, elapsedMs());
  }
  return least;
}

/** Returns the lowest CPU time of several runs of a synchronous task, in ms. */
function measureLeastCpuMs(task: () => unknown, runs: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const elapsedMs = startCpuTimer();
    task();
    least = Math.min(least, elapsedMs());
  }
  return least;
}

/** Durations up to this are too short to tell growth from noise. */
const NEGLIGIBLE_MS = 3;

/** For 4 times the input, linear work takes 4 times as long and quadratic work 16 times. The limit lies between the two. */
const LENGTH_RATIO = 4;
const MAX_GROWTH = 10;

/**
 * Expects that the duration of a task is linear in the length of its input. Measures a length and 4 times that length.
 * Measures again when the growth is too large, because a garbage collection can be the cause.
 */
export function expectLinearTime(make: (length: number) => () => unknown, length: number): void {
  const [short, long] = [make(length), make(LENGTH_RATIO * length)];
  let shortMs = Number.POSITIVE_INFINITY;
  let longMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 6; attempt++) {
    longMs = Math.min(longMs, measureLeastCpuMs(long, 4));
    if (longMs <= NEGLIGIBLE_MS) return;
    shortMs = Math.min(shortMs, measureLeastCpuMs(short, 4));
    if (longMs <= MAX_GROWTH * shortMs) return;
  }
  expect(longMs / shortMs, `${shortMs} ms, and ${longMs} ms for ${LENGTH_RATIO} times the length`).toBeLessThan(
    MAX_GROWTH,
  );
}
