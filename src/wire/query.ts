import { type CapabilityQuery, pairEntries, pairsFrom } from '../core/capability.js';
import { asReplicaId, type ReplicaId } from '../core/ids.js';

/**
 * Reads the part of a request target behind the `?`. The rules are those of form encoding: `+` is a space, a
 * malformed `%` stays literal, invalid UTF-8 becomes U+FFFD, and of a repeated key the last value counts.
 */
export function queryFromSearch(search: string): CapabilityQuery {
  // The leading "&" keeps URLSearchParams from taking a "?" away that belongs to the first key.
  return pairsFrom(new Map(new URLSearchParams(`&${search}`)));
}

/** Writes a query as the part of a request target behind the `?`. */
export function searchFromQuery(query: CapabilityQuery): string {
  return new URLSearchParams(pairEntries(query)).toString();
}

/** The request header that names the replicas to leave out. */
export const EXCLUDE_HEADER = 'x-anyserve-exclude';

/** The most replicas that a request may leave out. */
export const MAX_EXCLUDED = 16;

/** Reads {@link EXCLUDE_HEADER}: ids between commas, with `%` escapes for what a header cannot carry. */
export function excludedFromHeader(header: string): ReplicaId[] {
  const names = header.split(',').map((name) => name.trim());
  return names.filter((name) => name !== '').map((name) => asReplicaId(unescaped(name)));
}

/** Writes {@link EXCLUDE_HEADER}. */
export function headerFromExcluded(excluded: Iterable<ReplicaId>): string {
  return [...excluded].map((id) => encodeURIComponent(id)).join(',');
}

function unescaped(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
