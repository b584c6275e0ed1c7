import { AnyserveError } from '../../core/errors.js';
import type { ReplicaId } from '../../core/ids.js';
import { quote } from '../../core/quoting.js';
import { isHttpToken } from '../../http/engine-client/field-text.js';

/** Request headers that are passed on to a replica. Everything else stays here: credentials above all. */
const PASSED_HEADERS = [
  'content-type',
  'accept',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-request-id',
  'idempotency-key',
  'openai-beta',
];

/** Beginning of the headers in which OpenAI's clients describe themselves. */
const STAINLESS_PREFIX = 'x-stainless-';

/** Beginning of the headers that are between a caller and the gateway, or between an engine and the gateway. */
const OWN_PREFIX = 'x-anyserve-';

/** Beginning of the headers with which a server lets web pages of other origins read it (CORS). */
const CORS_PREFIX = 'access-control-';

/**
 * Response headers that stay here: those about one connection (RFC 9110, section 7.6.1), and `alt-svc`, with which an engine would
 * tell callers to connect to another server instead of the gateway (RFC 7838).
 */
const DROPPED_HEADERS = new Set([
  'alt-svc',
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Request headers that can't be passed on: the client for engines is responsible for them, or they are credentials of the gateway. */
const RESERVED_HEADERS = new Set([
  ...DROPPED_HEADERS,
  'accept-encoding',
  'authorization',
  'content-encoding',
  'content-length',
  'expect',
  'host',
]);

/** Parses the name of a request header to pass on. Throws `usage` for one that can't be. */
export function parsePassedHeader(name: string, option = '--pass-header'): string {
  const lower = name.toLowerCase();
  if (isHttpToken(name) && !RESERVED_HEADERS.has(lower) && !lower.startsWith(OWN_PREFIX)) return name;
  throw new AnyserveError(
    'usage',
    `${option}: ${quote(name)} is not a header that can be passed on; give another, such as api-key`,
  );
}

/** Creates a function that selects the request headers to pass on. Takes and returns names and values in turn. */
export function createRequestFilter(additional: readonly string[]): (rawHeaders: readonly string[]) => string[] {
  const passed = new Set([...PASSED_HEADERS, ...additional.map((name) => name.toLowerCase())]);
  return (rawHeaders) => {
    // The engine's bytes are passed on as they are, so they must not depend on what the caller can decode.
    const headers = ['accept-encoding', 'identity'];
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const name = rawHeaders[index] as string;
      const lower = name.toLowerCase();
      if (passed.has(lower) || lower.startsWith(STAINLESS_PREFIX)) headers.push(name, rawHeaders[index + 1] ?? '');
    }
    return headers;
  };
}

/** Replaces headers by others with the same names, which are in lower case, or adds them. */
export function replaceHeaders(rawHeaders: readonly string[], others: Readonly<Record<string, string>>): string[] {
  const headers: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    if (!Object.hasOwn(others, name.toLowerCase())) headers.push(name, rawHeaders[index + 1] ?? '');
  }
  return [...headers, ...Object.entries(others).flat()];
}

/**
 * Selects the response headers to pass on. Takes and returns names and values in turn. The gateway decides which web pages can read
 * it, so the engine's CORS headers stay here.
 */
export function filterResponseHeaders(rawHeaders: readonly string[], status: number): string[] {
  const headers: string[] = [];
  let ofConnection: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const value = rawHeaders[index + 1] ?? '';
    const lower = name.toLowerCase();
    if (lower === 'connection') ofConnection = [...ofConnection, ...listConnectionHeaders(value)];
    if (DROPPED_HEADERS.has(lower) || lower.startsWith(OWN_PREFIX) || lower.startsWith(CORS_PREFIX)) continue;
    // A 204 has no body, but a proxy that believes the length would wait for one (RFC 9110, section 8.6).
    if (status === 204 && lower === 'content-length') continue;
    headers.push(name, value);
  }
  return ofConnection.length === 0 ? headers : withoutHeaders(headers, new Set(ofConnection));
}

/** Lists the headers that `connection` names: they are about one connection, too (RFC 9110, section 7.6.1). */
function listConnectionHeaders(value: string): readonly string[] {
  if (/^(?:keep-alive|close)$/i.test(value)) return [];
  return value.split(',').map((option) => option.trim().toLowerCase());
}

function withoutHeaders(headers: readonly string[], names: ReadonlySet<string>): string[] {
  return headers.filter((_text, index) => !names.has((headers[index - (index % 2)] ?? '').toLowerCase()));
}

/** Response header with the id of the replica that has responded, percent-encoded. */
const REPLICA_HEADER = 'x-anyserve-replica';

/** Creates the header that names the replica of a response. Returns names and values in turn, nothing for an unknown replica. */
export function createReplicaHeader(replicaId: ReplicaId | undefined): string[] {
  return replicaId === undefined ? [] : [REPLICA_HEADER, encodeURIComponent(replicaId.toWellFormed())];
}
