/** So many texts are kept once; then others have their turn. */
const MOST_POOLED = 10_000;

const pool = new Map<string, string>();

/**
 * The same text, kept once however often it comes: the names and values of capabilities, which a fleet has few of. It is a
 * copy, because a part of a longer text, such as a body, would keep all of that in memory.
 */
export function pooledText(text: string): string {
  const known = pool.get(text);
  if (known !== undefined) return known;
  if (pool.size >= MOST_POOLED) pool.clear();
  const copy = JSON.parse(JSON.stringify(text)) as string;
  pool.set(copy, copy);
  return copy;
}
