import { PROTOCOL_HEADER } from '../api/protocol-header.js';
import { EXCLUDE_HEADER } from '../api/query.js';
import { PREFER_HEADER, SELECTOR_HEADER } from '../api/selector-header.js';
import { MAX_STALENESS_HEADER } from '../api/staleness-header.js';
import { AnyserveError } from '../core/errors.js';

/** The values of the request headers that say which replicas a request is about. */
export interface RoutingHeaders {
  readonly exclude: readonly string[];
  readonly selector: readonly string[];
  readonly prefer: readonly string[];
  readonly protocol: readonly string[];
  readonly maxStaleness: readonly string[];
}

/** Returned for a request without any of the headers. */
export const NO_ROUTING_HEADERS: RoutingHeaders = {
  exclude: [],
  selector: [],
  prefer: [],
  protocol: [],
  maxStaleness: [],
};

const FIELDS: ReadonlyMap<string, keyof RoutingHeaders> = new Map([
  [EXCLUDE_HEADER, 'exclude'],
  [SELECTOR_HEADER, 'selector'],
  [PREFER_HEADER, 'prefer'],
  [PROTOCOL_HEADER, 'protocol'],
  [MAX_STALENESS_HEADER, 'maxStaleness'],
]);

const LENGTHS = [...FIELDS.keys()].map(({ length }) => length);
const [MIN_LENGTH, MAX_LENGTH] = [Math.min(...LENGTHS), Math.max(...LENGTHS)];
const ASCII = /^[\t -~]*$/;
const UPPER_A = 0x41;
const LOWER_A = 0x61;

/**
 * Reads the headers from Node's `rawHeaders`, in one pass, because nearly all requests have none of them. Decodes the values as
 * UTF-8.
 */
export function readRoutingHeaders(rawHeaders: readonly string[]): RoutingHeaders {
  let headers: Record<keyof RoutingHeaders, string[]> | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    // The length and the letter after `x-` decide for nearly all headers. Converting a name to lower case takes longer.
    if (name.length < MIN_LENGTH || name.length > MAX_LENGTH) continue;
    const letter = name.charCodeAt(2);
    if (letter !== UPPER_A && letter !== LOWER_A) continue;
    const field = FIELDS.get(name.toLowerCase());
    if (field === undefined) continue;
    headers ??= { exclude: [], selector: [], prefer: [], protocol: [], maxStaleness: [] };
    headers[field].push(decodeUtf8(rawHeaders[index + 1] as string));
  }
  return headers ?? NO_ROUTING_HEADERS;
}

/** Calls a parser of a header. Returns its error if the header is invalid. */
export function parseHeader<T>(parse: () => T): T | AnyserveError {
  try {
    return parse();
  } catch (error) {
    if (error instanceof AnyserveError) return error;
    throw error;
  }
}

/** Decodes a header value as UTF-8. Node returns each byte of it as one character. Most values are ASCII. */
function decodeUtf8(header: string): string {
  return ASCII.test(header) ? header : Buffer.from(header, 'latin1').toString('utf8');
}
