/** One capability object of a replica: what it can do, as key-value pairs that hold together. */
export interface Capability {
  /**
   * Its scalar pairs, each key with its value behind it, in one list: a Map of so few would take three times the memory.
   * Values are text, so that the registered number 1 and the asked text `1` are equal.
   */
  readonly pairs: readonly string[];
  /** The whole object as it was registered, as compact JSON: shown to people and programs, never read here. */
  readonly source: string;
}

/** What a caller asks for: every pair must be found in one capability object. The empty query asks for anything. */
export type CapabilityQuery = ReadonlyMap<string, string>;

/** Whether the query's pairs are a subset of the pairs of ONE of these capability objects. */
export function matches(query: CapabilityQuery, capabilities: readonly Capability[]): boolean {
  return capabilities.some((capability) => isSubset(query, capability.pairs));
}

function isSubset(query: CapabilityQuery, pairs: readonly string[]): boolean {
  for (const [key, value] of query) {
    if (pairValue(key, pairs) !== value) return false;
  }
  return true;
}

/** The value of a key among pairs that stand behind each other in one list. */
export function pairValue(key: string, pairs: Capability['pairs']): string | undefined {
  for (let at = 0; at < pairs.length; at += 2) if (pairs[at] === key) return pairs[at + 1];
  return undefined;
}
