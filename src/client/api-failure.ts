import { parseErrorDetail, REFUSAL_HEADER } from '../api/api-responses.js';
import { AnyserveError, type ErrorCode, getErrorMessage, toHttpStatus } from '../core/errors.js';
import { explainTlsError } from '../core/tls.js';
import { type HttpResponse, ResponseTooLongError } from '../http/http-client.js';
import type { ServerAddress } from './server-list.js';

/**
 * Converts an unexpected response, which an API server would not send, to an error. 429 and 5xx count as temporary, because
 * proxies send them too.
 */
export function toUnexpectedResponseError(
  server: ServerAddress,
  { status, headers, peer }: Pick<HttpResponse, 'status' | 'headers' | 'peer'>,
  body: string,
): AnyserveError {
  const detail = parseErrorDetail(body) ?? 'no reason given';
  const refusalCode = REFUSAL_CODES[status];
  // A 401 without our header comes from another program. It does not depend on our token, and that program must not get one.
  if (refusalCode && headers[REFUSAL_HEADER] !== undefined) {
    const advice = 'give a token that has this permission with --token-file or in ANYSERVE_TOKEN';
    return new AnyserveError(
      refusalCode,
      `the API server ${server.name} refused the request (HTTP ${status}): ${detail}; ${advice}`,
    );
  }
  // The server doesn't accept the host name of the URL. Its detail names the option that allows it.
  if (status === 421) {
    const message = `the API server ${server.name} refused the request (HTTP 421): ${detail}`;
    return new AnyserveError('server_permission_denied', message);
  }
  if (status < 500 && status !== toHttpStatus('resource_exhausted'))
    return createNotAnApiServerError(server, `HTTP ${status} from ${peer}`, undefined, peer);
  return new AnyserveError(
    'server_unreachable',
    `the API server ${server.name} responded with HTTP ${status}: ${detail}`,
  );
}

/** Error codes for a token that is missing, wrong, or lacks the permission. */
const REFUSAL_CODES: Readonly<Partial<Record<number, ErrorCode>>> = {
  401: 'server_unauthenticated',
  403: 'server_permission_denied',
};

function createNotAnApiServerError(server: ServerAddress, detail: string, cause?: unknown, peer = ''): AnyserveError {
  const { hostname, port } = new URL(server.url);
  // "localhost" can resolve to ::1. Another program can listen there while the API server listens on 127.0.0.1.
  const isIpv6Loopback = hostname === 'localhost' && peer.startsWith('[::1]:');
  const advice = isIpv6Loopback ? `check the URL, or use http://127.0.0.1:${port || 80}` : 'check the URL';
  const message = `${server.name} is not an AnyServe API server (${detail}); ${advice}`;
  return new AnyserveError('not_an_api_server', message, { cause });
}

/** Converts an error of a request to an API server. An `AnyserveError` keeps its code, except `too_large`. */
export function toUnreachableError(server: ServerAddress, error: unknown): AnyserveError {
  if (error instanceof ResponseTooLongError) return createNotAnApiServerError(server, error.message, error);
  if (error instanceof AnyserveError)
    return error.code === 'too_large' ? createNotAnApiServerError(server, error.message, error) : error;
  const { code } = error as { code?: string };
  if (code === 'HPE_HEADER_OVERFLOW') return createNotAnApiServerError(server, 'its headers are too long', error);
  if (code?.startsWith('HPE_')) return createNotAnApiServerError(server, 'its response is not HTTP', error);
  const reason = explainTlsError(error) ?? SYSTEM_ERROR_REASONS[code ?? ''] ?? getErrorMessage(error);
  const message = `cannot reach the API server ${server.name}: ${reason}`;
  return new AnyserveError('server_unreachable', message, { cause: error });
}

const SYSTEM_ERROR_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is "anyserve serve" running?',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ETIMEDOUT: 'no response in time',
  ECONNRESET:
    'it closed the connection without a response; does it use https, or require a client certificate (--tls-cert)?',
};

/** Combines the errors of all servers into one. A refusal has precedence over a server that can't be reached. */
export function combineFailures(errors: readonly AnyserveError[]): AnyserveError {
  const first = errors.find(({ code }) => code !== 'server_unreachable') ?? errors[0];
  if (!first) return new AnyserveError('server_unreachable', 'no API server responded');
  if (errors.length === 1) return first;
  const message = `none of ${errors.length} API servers can be used: ${errors.map((error) => error.message).join('; ')}`;
  return new AnyserveError(first.code, message, { cause: first });
}
