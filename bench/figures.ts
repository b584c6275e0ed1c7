/** The value below which this part of all lies; 0.5 is the median. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
}

/** The median. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The median of the ratios of two series whose rounds were run in turns, each against its neighbour. */
export function medianRatio(values: readonly number[], rival: readonly number[]): number {
  return median(values.map((value, round) => value / (rival[round] as number)));
}

/** Now, in microseconds, on the clock that all processes of a machine share. */
export function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

/** A figure with three digits that count. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
