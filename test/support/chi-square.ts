/**
 * Returns the chi-square statistic of counts that should all be equal. A fair draw exceeds 18.47 once in 1,000 runs with 4
 * degrees of freedom, and 13.82 with 2.
 */
export function computeChiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((total, count) => total + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}
