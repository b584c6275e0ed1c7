/** Longest texts that are compared letter by letter: the time that takes grows with the product of their lengths. */
const MAX_COMPARED = 64;

/**
 * How far a text is from another: 0 when they differ in case alone, else the number of letters added, left out, changed or
 * swapped with the next (optimal string alignment distance). Undefined when that is too many to be a misspelling: more than
 * a third of the wanted letters, or more than 3.
 */
export function measureMisspelling(wanted: string, offered: string): number | undefined {
  const most = Math.min(3, Math.floor(wanted.length / 3));
  if (Math.abs(wanted.length - offered.length) > most) return undefined;
  // A longer text costs as much as it has letters, and no more.
  if (wanted.length > MAX_COMPARED) return wanted.toLowerCase() === offered.toLowerCase() ? 0 : undefined;
  const distance = alignmentDistance(wanted.toLowerCase(), offered.toLowerCase(), most);
  return distance <= most ? distance : undefined;
}

/**
 * The distance, or any number over the limit once it is certain to be over. Of the table of distances between all
 * beginnings only the band around its diagonal is filled in, because all others are over the limit.
 */
function alignmentDistance(a: string, b: string, limit: number): number {
  const over = limit + 1;
  let beforeLast: number[] = new Array(b.length + 1).fill(over);
  let last: number[] = [...beforeLast];
  let row: number[] = [...beforeLast];
  for (let j = 0; j <= Math.min(limit, b.length); j++) last[j] = j;
  for (let i = 1; i <= a.length; i++) {
    const first = Math.max(1, i - limit);
    row[first - 1] = first === 1 ? i : over;
    let least = row[first - 1] as number;
    for (let j = first; j <= Math.min(b.length, i + limit); j++) {
      const isSame = a[i - 1] === b[j - 1];
      let best = (last[j - 1] as number) + (isSame ? 0 : 1);
      best = Math.min(best, (last[j] as number) + 1, (row[j - 1] as number) + 1);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwapped) best = Math.min(best, (beforeLast[j - 2] as number) + 1);
      row[j] = best;
      least = Math.min(least, best);
    }
    if (least > limit) return least;
    [beforeLast, last, row] = [last, row, beforeLast];
  }
  return last[b.length] as number;
}
