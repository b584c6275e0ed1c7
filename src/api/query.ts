import { type CapabilityQuery, createPairs, listPairs, MAX_PAIRS } from '../core/capability.js';
import { asReplicaId, type ReplicaId } from '../core/ids.js';

/**
 * Reads the part of a request target behind the `?`. The rules are those of form encoding: `+` is a space, a
 * malformed `%` stays literal, invalid UTF-8 becomes U+FFFD, and of a repeated key the last value counts. A query of more
 * keys than a capability object can have matches nothing; one key more than that is enough to say so.
 */
export function parseQuery(search: string): CapabilityQuery {
  const pairs = new Map<string, string>();
  // The leading "&" keeps URLSearchParams from taking a "?" away that belongs to the first key.
  for (const [key, value] of new URLSearchParams(`&${search}`)) {
    pairs.set(key, value);
    if (pairs.size > MAX_PAIRS) break;
  }
  return createPairs(pairs);
}

/** Writes a query as the part of a request target behind the `?`. */
export function serializeQuery(query: CapabilityQuery): string {
  return new URLSearchParams(listPairs(query)).toString();
}

/** The request header that names the replicas to leave out. */
export const EXCLUDE_HEADER = 'x-anyserve-exclude';

/** The most replicas that a request may leave out. */
export const MAX_EXCLUDED = 16;

/**
 * Reads {@link EXCLUDE_HEADER}: ids between commas, with `%` escapes for what a header cannot carry. Undefined for more
 * than {@link MAX_EXCLUDED}; repeated ones count once. Counted as they are written, because it takes 30 µs to find out that
 * an escape is malformed.
 */
export function parseExcludeHeader(header: string): readonly ReplicaId[] | undefined {
  const names = new Set<string>();
  for (const part of header.split(',')) {
    const name = part.trim();
    if (name !== '') names.add(name);
    if (names.size > MAX_EXCLUDED) return undefined;
  }
  return [...names].map((name) => asReplicaId(unescaped(name)));
}

/** Writes {@link EXCLUDE_HEADER}. */
export function formatExcludeHeader(excluded: Iterable<ReplicaId>): string {
  return [...excluded].map((id) => encodeURIComponent(id)).join(',');
}

function unescaped(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
