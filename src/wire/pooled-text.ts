import { RecentMap } from '../core/recent-map.js';
import { ownText } from './own-text.js';

/** So many texts are kept once, those that came lately, if they are not long. */
const MOST_POOLED = 10_000;
const LONGEST_POOLED = 256;

const pool = new RecentMap<string, string>(MOST_POOLED);

/** A text of its own, kept once however often it comes: the names and values of capabilities, which a fleet has few of. */
export function pooledText(text: string): string {
  if (text.length > LONGEST_POOLED) return ownText(text);
  const known = pool.get(text);
  if (known !== undefined) return known;
  const copy = ownText(text);
  pool.set(copy, copy);
  return copy;
}
