/**
 * The chi-square statistic of counts that should all be equal. For 4 degrees of freedom, a value over 18.47 comes up
 * once in a thousand runs of an even die; for 2, over 13.82.
 */
export function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((total, count) => total + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}
