/**
 * Maximum length of strings that are compared character by character. The time is proportional to the product of their
 * lengths.
 */
const MAX_COMPARED = 64;

/**
 * Returns the edit distance between two strings, ignoring case: the number of characters that are added, omitted, changed or
 * swapped with the next one (optimal string alignment distance). Returns undefined if the strings are too different for a
 * misspelling: if the distance is more than a third of the expected characters, or more than 3.
 */
export function measureMisspelling(expected: string, offered: string): number | undefined {
  const limit = Math.min(3, Math.floor(expected.length / 3));
  if (Math.abs(expected.length - offered.length) > limit) return undefined;
  // Long strings are only compared for equality, in linear time.
  if (expected.length > MAX_COMPARED) return expected.toLowerCase() === offered.toLowerCase() ? 0 : undefined;
  const distance = computeAlignmentDistance(expected.toLowerCase(), offered.toLowerCase(), limit);
  return distance <= limit ? distance : undefined;
}

/**
 * Computes the distance, or any number over the limit if the distance is over the limit. The table of distances between all
 * prefixes is filled only in the band around its diagonal, because all other distances are over the limit.
 */
function computeAlignmentDistance(a: string, b: string, limit: number): number {
  const overLimit = limit + 1;
  let beforeLast: number[] = new Array(b.length + 1).fill(overLimit);
  let last: number[] = [...beforeLast];
  let row: number[] = [...beforeLast];
  for (let j = 0; j <= Math.min(limit, b.length); j++) last[j] = j;
  for (let i = 1; i <= a.length; i++) {
    const first = Math.max(1, i - limit);
    row[first - 1] = first === 1 ? i : overLimit;
    let rowMinimum = row[first - 1] as number;
    for (let j = first; j <= Math.min(b.length, i + limit); j++) {
      const isSame = a[i - 1] === b[j - 1];
      let best = (last[j - 1] as number) + (isSame ? 0 : 1);
      best = Math.min(best, (last[j] as number) + 1, (row[j - 1] as number) + 1);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) best = Math.min(best, (beforeLast[j - 2] as number) + 1);
      row[j] = best;
      rowMinimum = Math.min(rowMinimum, best);
    }
    if (rowMinimum > limit) return rowMinimum;
    [beforeLast, last, row] = [last, row, beforeLast];
  }
  return last[b.length] as number;
}
