import { type CapabilityQuery, createPairs, listPairs, MAX_PAIRS } from '../core/capability.js';
import { asReplicaId, type ReplicaId } from '../core/ids.js';

/**
 * Parses the query string of a request target, without the `?`, by the rules of form encoding: `+` is a space, a
 * malformed `%` stays literal, invalid UTF-8 becomes U+FFFD, and the last value of a repeated key wins. Parsing stops
 * after `MAX_PAIRS` + 1 keys: no capability object has so many, so the query matches nothing.
 */
export function parseQuery(search: string): CapabilityQuery {
  const pairs = new Map<string, string>();
  // URLSearchParams drops a leading "?", which here belongs to the first key. The added "&" prevents that.
  for (const [key, value] of new URLSearchParams(`&${search}`)) {
    pairs.set(key, value);
    if (pairs.size > MAX_PAIRS) break;
  }
  return createPairs(pairs);
}

/** Serializes a query as a query string, without the `?`. */
export function serializeQuery(query: CapabilityQuery): string {
  return new URLSearchParams(listPairs(query)).toString();
}

/** Request header with the ids of the replicas to exclude from routing. */
export const EXCLUDE_HEADER = 'x-anyserve-exclude';

/** Maximum number of replicas that a request can exclude. */
export const MAX_EXCLUDED = 16;

/**
 * Parses the value of {@link EXCLUDE_HEADER}: percent-encoded ids, separated by commas. Returns undefined for more than
 * {@link MAX_EXCLUDED} different ones. Names are counted before decoding, because detecting a malformed escape takes
 * 30 µs.
 */
export function parseExcludeHeader(header: string): readonly ReplicaId[] | undefined {
  const encodedIds = new Set<string>();
  for (const part of header.split(',')) {
    const encodedId = part.trim();
    if (encodedId !== '') encodedIds.add(encodedId);
    if (encodedIds.size > MAX_EXCLUDED) return undefined;
  }
  return [...encodedIds].map((encodedId) => asReplicaId(decodePercentEncoding(encodedId)));
}

/** Formats the value of {@link EXCLUDE_HEADER}. */
export function formatExcludeHeader(excluded: Iterable<ReplicaId>): string {
  return [...excluded].map((id) => encodeURIComponent(id)).join(',');
}

/** Returns text with malformed escapes unchanged. */
function decodePercentEncoding(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
