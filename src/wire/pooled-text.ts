import { RecentMap } from '../core/recent-map.js';
import { ownTexts } from './own-text.js';

/** Maximum number of texts that are kept once, those used last, and maximum length of one in UTF-16 units. */
const MOST_POOLED = 10_000;
const LONGEST_POOLED = 256;

/** Maximum number of texts that one call looks up and adds, so that a large registration does not push out those of a whole fleet. */
const MOST_ADDED = MOST_POOLED / 2;

const pool = new RecentMap<string, string>(MOST_POOLED);

/** Detaches a text as {@link pooledTexts} does. */
export function pooledText(text: string): string {
  return pooledTexts([text])[0] as string;
}

/**
 * Detaches texts from the longer one that they are parts of, each kept once however often it comes: the names and values
 * of capabilities, of which a fleet has few. Those that are not known are detached together, in a fifth of the time.
 */
export function pooledTexts(texts: readonly string[]): string[] {
  const pooled = new Map<string, string>();
  const unknown: string[] = [];
  for (const text of texts) {
    if (pooled.has(text)) continue;
    const known = canBeKept(text, pooled.size) ? pool.get(text) : undefined;
    if (known === undefined) unknown.push(text);
    pooled.set(text, known ?? text);
  }
  for (const [at, copy] of (unknown.length > 0 ? ownTexts(unknown) : unknown).entries()) {
    pooled.set(copy, copy);
    if (canBeKept(copy, at)) pool.set(copy, copy);
  }
  return texts.map((text) => pooled.get(text) as string);
}

function canBeKept(text: string, at: number): boolean {
  return at < MOST_ADDED && text.length <= LONGEST_POOLED;
}
