import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import { isFieldValue, isHttpToken, isTarget } from './field-text.js';

/** A request to an engine. */
export interface EngineRequest {
  /** Scheme, host and port: `http://10.0.0.7:8000`. */
  readonly origin: string;
  readonly method: string;
  /** Request target, which is sent as it is: `/v1/models?limit=1`. */
  readonly path: string;
  /** Names and values in turn, which are sent as they are. The client adds `host` and `content-length`. */
  readonly headers: readonly string[];
  /** The body in pieces. Default: none. */
  readonly body?: readonly Buffer[];
}

/** The bytes of a request: the head, and the pieces of the body. */
export interface SerializedRequest {
  readonly head: string;
  readonly body: readonly Buffer[];
  readonly bodyBytes: number;
}

const NO_BODY: readonly Buffer[] = [];

/** Headers that the client is responsible for, by their lengths. A second one could end the request early. */
const RESERVED_HEADERS: Readonly<Record<number, string>> = {
  4: 'host',
  10: 'connection',
  14: 'content-length',
  17: 'transfer-encoding',
};

/**
 * Serializes a request. Throws `invalid_argument` for a method, path or header that can't be sent: a line feed would start another
 * header or another request.
 */
export function serializeRequest(
  { method, path, headers, body = NO_BODY }: EngineRequest,
  host: string,
): SerializedRequest {
  if (!isHttpToken(method)) throw createInvalidError('method', method);
  if (!isTarget(path)) throw createInvalidError('path', path);
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n`;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    const value = headers[index + 1] ?? '';
    if (!isHttpToken(name) || isReserved(name)) throw createInvalidError('header name', name);
    if (!isFieldValue(value)) throw createInvalidError(`value of the header ${name}`, value);
    head += `${name}: ${value}\r\n`;
  }
  let bodyBytes = 0;
  for (const piece of body) bodyBytes += piece.length;
  const hasLength = bodyBytes > 0 || (method !== 'GET' && method !== 'HEAD');
  return { head: hasLength ? `${head}content-length: ${bodyBytes}\r\n\r\n` : `${head}\r\n`, body, bodyBytes };
}

function isReserved(name: string): boolean {
  const reserved = RESERVED_HEADERS[name.length];
  return reserved !== undefined && reserved === name.toLowerCase();
}

function createInvalidError(part: string, text: string): AnyserveError {
  return new AnyserveError('invalid_argument', `the ${part} ${quote(text)} can't be sent to an engine`);
}
