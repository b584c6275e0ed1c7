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

/** Headers that are about one connection (RFC 9110, section 7.6.1). */
const HOP_BY_HOP = new Set([
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

/** Selects the response headers to pass on. Takes and returns names and values in turn. */
export function filterResponseHeaders(rawHeaders: readonly string[]): string[] {
  const headers: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string;
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || lower.startsWith(OWN_PREFIX)) continue;
    headers.push(name, rawHeaders[index + 1] ?? '');
  }
  return headers;
}
