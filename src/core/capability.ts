/**
 * Key-value pairs as a flat list: key, value, key, value. Keys are unique. A Map of so few entries takes three times the
 * memory and twice the time to iterate. Values are strings, so that the registered number 1 equals the string `1` of a
 * query.
 */
export type Pairs = readonly string[];

/** One capability object of a replica, such as `{"type":"chat","model":"qwen2"}`. */
export interface Capability {
  /** The pairs with scalar values: text, numbers, true and false. */
  readonly pairs: Pairs;
  /** The whole object as it was registered, as compact JSON. It is only for display and output: matching uses `pairs`. */
  readonly source: string;
}

/** Maximum number of pairs in one capability object. A query with more pairs cannot match. */
export const MAX_PAIRS = 32;

/** The pairs that a caller requires. One capability object must have all of them. The empty query matches every replica. */
export type CapabilityQuery = Pairs;

/** Returns whether the query's pairs are a subset of the pairs of ONE of these capability objects. */
export function matches(query: CapabilityQuery, capabilities: readonly Capability[]): boolean {
  return capabilities.some((capability) => hasPairs(query, capability.pairs));
}

/** Returns whether the pairs of one capability object have all pairs of a query. */
export function hasPairs(query: CapabilityQuery, pairs: Pairs): boolean {
  for (let i = 0; i < query.length; i += 2) {
    if (getPairValue(query[i] as string, pairs) !== query[i + 1]) return false;
  }
  return true;
}

/** Returns the value of a key; undefined if no pair has the key. */
export function getPairValue(key: string, pairs: Pairs): string | undefined {
  for (let i = 0; i < pairs.length; i += 2) if (pairs[i] === key) return pairs[i + 1];
  return undefined;
}

/** Creates pairs from entries. The keys must be unique. */
export function createPairs(entries: Iterable<readonly [key: string, value: string]>): Pairs {
  // An array that grew has spare capacity. A copy has none.
  return [...entries].flat().slice();
}

/** Returns the pairs as entries. */
export function listPairs(pairs: Pairs): [key: string, value: string][] {
  const entries: [string, string][] = [];
  for (let i = 0; i < pairs.length; i += 2) entries.push([pairs[i] as string, pairs[i + 1] as string]);
  return entries;
}

/** Formats a query for messages, as `{"type":"chat"}`. */
export function formatQuery(query: CapabilityQuery): string {
  return JSON.stringify(Object.fromEntries(listPairs(query)));
}
