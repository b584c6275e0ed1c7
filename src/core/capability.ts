/**
 * Key-value pairs in one list, each key with its value behind it, and no key twice: a Map of so few takes three times the
 * memory, and twice the time to go through. Values are text, so that the registered number 1 and the asked text `1` are equal.
 */
export type Pairs = readonly string[];

/** One capability object of a replica: what it can do, as key-value pairs that hold together. */
export interface Capability {
  /** Those of its pairs whose values are scalars: text, numbers, true and false. */
  readonly pairs: Pairs;
  /** The whole object as it was registered, as compact JSON: shown to people and programs, never read here. */
  readonly source: string;
}

/** Maximum number of pairs in one capability object, and so in a query that anything can match. */
export const MAX_PAIRS = 32;

/** What a caller asks for: every pair must be found in one capability object. The empty query asks for anything. */
export type CapabilityQuery = Pairs;

/** Whether the query's pairs are a subset of the pairs of ONE of these capability objects. */
export function matches(query: CapabilityQuery, capabilities: readonly Capability[]): boolean {
  return capabilities.some((capability) => isSubset(query, capability.pairs));
}

function isSubset(query: CapabilityQuery, pairs: Pairs): boolean {
  for (let at = 0; at < query.length; at += 2) {
    if (getPairValue(query[at] as string, pairs) !== query[at + 1]) return false;
  }
  return true;
}

/** The value of a key. */
export function getPairValue(key: string, pairs: Pairs): string | undefined {
  for (let at = 0; at < pairs.length; at += 2) if (pairs[at] === key) return pairs[at + 1];
  return undefined;
}

/** A list of pairs from entries, of which none has the key of another. */
export function createPairs(entries: Iterable<readonly [key: string, value: string]>): Pairs {
  // A list that grew has room to grow on; its copy has none.
  return [...entries].flat().slice();
}

/** Each key with its value. */
export function listPairs(pairs: Pairs): [key: string, value: string][] {
  const entries: [string, string][] = [];
  for (let at = 0; at < pairs.length; at += 2) entries.push([pairs[at] as string, pairs[at + 1] as string]);
  return entries;
}
