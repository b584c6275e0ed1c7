import { parseErrorDetail, REFUSAL_HEADER } from '../api/api-responses.js';
import { AnyserveError, type ErrorCode, getErrorMessage, toHttpStatus } from '../core/errors.js';
import { type HttpResponse, ResponseTooLongError } from '../http/http-client.js';
import { explainTlsError } from './tls-failure.js';

/** What to make of an answer that no API server gives to this question; 429 and 5xx may pass, and a proxy sends them. */
export function toUnexpectedResponseError(
  server: string,
  { status, headers, peer }: Pick<HttpResponse, 'status' | 'headers' | 'peer'>,
  body: string,
): AnyserveError {
  const said = parseErrorDetail(body) ?? 'no reason given';
  const refusal = REFUSALS[status];
  // Another program's 401 says nothing about our tokens, and must not be shown one.
  if (refusal && headers[REFUSAL_HEADER] !== undefined) {
    const advice = 'give a token that may, with --token-file or in ANYSERVE_TOKEN';
    return new AnyserveError(refusal, `the API server ${server} refuses (HTTP ${status}): ${said}; ${advice}`);
  }
  // It does not answer to the name in its URL; its own words say which option lets it.
  if (status === 421) {
    return new AnyserveError('server_permission_denied', `the API server ${server} refuses (HTTP 421): ${said}`);
  }
  if (status < 500 && status !== toHttpStatus('resource_exhausted'))
    return notAnApiServer(server, `HTTP ${status} from ${peer}`, undefined, peer);
  return new AnyserveError('server_unreachable', `the API server ${server} answers HTTP ${status}: ${said}`);
}

/** How a server answers to a token that is missing, wrong, or for something else. */
const REFUSALS: Readonly<Partial<Record<number, ErrorCode>>> = {
  401: 'server_unauthenticated',
  403: 'server_permission_denied',
};

function notAnApiServer(server: string, answer: string, cause?: unknown, peer = ''): AnyserveError {
  const { hostname, port } = new URL(server);
  // A name can lead to another program than the address that the API server listens on.
  const isOther = hostname === 'localhost' && peer.startsWith('[::1]:');
  const advice = isOther ? `check the URL, or give http://127.0.0.1:${port || 80}` : 'check the URL';
  const message = `${server} answers, but not as an AnyServe API server (${answer}); ${advice}`;
  return new AnyserveError('not_an_api_server', message, { cause });
}

/** What an error on the way to an API server means; one of ours keeps its meaning. */
export function toUnreachableError(server: string, error: unknown): AnyserveError {
  if (error instanceof ResponseTooLongError) return notAnApiServer(server, error.message, error);
  if (error instanceof AnyserveError)
    return error.code === 'too_large' ? notAnApiServer(server, error.message, error) : error;
  const { code } = error as { code?: string };
  if (code === 'HPE_HEADER_OVERFLOW') return notAnApiServer(server, 'its headers are too long', error);
  if (code?.startsWith('HPE_')) return notAnApiServer(server, 'no HTTP', error);
  const reason = explainTlsError(error) ?? REASONS[code ?? ''] ?? getErrorMessage(error);
  const message = `cannot reach the API server ${server}: ${reason}`;
  return new AnyserveError('server_unreachable', message, { cause: error });
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is "anyserve serve" running?',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ETIMEDOUT: 'no answer in time',
  ECONNRESET: 'it closed the connection without an answer; does it speak https, or ask for a certificate (--tls-cert)?',
};
