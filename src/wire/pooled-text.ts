import { ownText } from './own-text.js';

/** So many texts are kept once, if they are not long; then others have their turn. */
const MOST_POOLED = 10_000;
const LONGEST_POOLED = 256;

const pool = new Map<string, string>();

/** A text of its own, kept once however often it comes: the names and values of capabilities, which a fleet has few of. */
export function pooledText(text: string): string {
  if (text.length > LONGEST_POOLED) return ownText(text);
  const known = pool.get(text);
  if (known !== undefined) return known;
  if (pool.size >= MOST_POOLED) pool.clear();
  const copy = ownText(text);
  pool.set(copy, copy);
  return copy;
}
