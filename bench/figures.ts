import type { Random } from '../src/core/ports.js';

/** Returns a quantile of the values; the fraction 0.5 is the median. */
export function computeQuantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * fraction)] ?? Number.NaN;
}

/** Returns the median. */
export function computeMedian(values: readonly number[]): number {
  return computeQuantile(values, 0.5);
}

/** Returns the median ratio of two series measured in alternating rounds: each value is divided by the rival's of the same round. */
export function computeMedianRatio(values: readonly number[], rival: readonly number[]): number {
  return computeMedian(values.map((value, round) => value / (rival[round] as number)));
}

/** Returns the time in µs on the monotonic clock that all processes of a machine share. */
export function readMonotonicUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

/** Rounds a number to three significant digits. */
export function roundFigure(value: number): number {
  return Number(value.toPrecision(3));
}

/** Returns an exponentially distributed number with a mean, such as the time of a call or between two calls. */
export function takeExponential(random: Random, mean: number): number {
  return -mean * Math.log(1 - random.fraction());
}
