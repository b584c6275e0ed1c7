import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';

/** An answer's JSON as the server wrote it. Nothing of it is certain. */
// biome-ignore lint/suspicious/noExplicitAny: readers check each field that they use
export type UntrustedJson = any;

/** An upstream's error: the HTTP status it stands for, and its text, for callers that decide by what is in it. */
export class UpstreamError extends AnyserveError {
  readonly status: number;
  readonly body: string;

  constructor(status: number, body: string, message: string) {
    super(codeOf(status), message);
    this.status = status;
    this.body = body;
  }
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_argument',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  408: 'deadline_exceeded',
  409: 'aborted',
  413: 'invalid_argument',
  422: 'invalid_argument',
  429: 'resource_exhausted',
  499: 'cancelled',
  501: 'unimplemented',
  502: 'unavailable',
  503: 'unavailable',
  504: 'deadline_exceeded',
  529: 'unavailable',
};

/** Returns the code for an HTTP status; a status that is not an error's is `failed_precondition`. */
function codeOf(status: number): ErrorCode {
  return CODES[status] ?? (status < 500 ? 'failed_precondition' : 'internal');
}

/**
 * The HTTP statuses of the words that servers use for errors, as a `code`, `type` or `status`: those of OpenAI,
 * Anthropic, vLLM, llama.cpp, TGI, LiteLLM and the gRPC status names that Google uses. Keys are as {@link wordFrom} makes
 * them.
 */
const STATUSES: ReadonlyMap<string, number> = new Map([
  ...[
    'invalid_request',
    'invalid_argument',
    'bad_request',
    'validation',
    'invalid_prompt',
    'context_length_exceeded',
    'context_window_exceeded',
    'exceed_context_size',
    'string_above_max_length',
    'unsupported_parameter',
    'unsupported_value',
    'content_policy_violation',
    'content_filter',
    'template',
    'tool',
    'out_of_range',
  ].map((word) => [word, 400] as const),
  ...['invalid_api_key', 'authentication', 'unauthenticated', 'unauthorized'].map((word) => [word, 401] as const),
  ...['permission', 'permission_denied', 'forbidden'].map((word) => [word, 403] as const),
  ...['not_found', 'model_not_found'].map((word) => [word, 404] as const),
  ...['request_too_large', 'payload_too_large'].map((word) => [word, 413] as const),
  ...['unprocessable_entity'].map((word) => [word, 422] as const),
  ...[
    'rate_limit',
    'rate_limit_exceeded',
    'rate_limit_reached',
    'too_many_requests',
    'insufficient_quota',
    'quota_exceeded',
    'billing_hard_limit_reached',
    'resource_exhausted',
    'throttling',
    'requests',
    'tokens',
  ].map((word) => [word, 429] as const),
  ...['not_supported', 'not_implemented', 'unimplemented'].map((word) => [word, 501] as const),
  ...[
    'overloaded',
    'engine_overloaded',
    'unavailable',
    'service_unavailable',
    'server_overloaded',
    'slow_down',
    'model_overloaded',
  ].map((word) => [word, 503] as const),
  ...['timeout', 'request_timeout', 'gateway_timeout', 'deadline_exceeded'].map((word) => [word, 504] as const),
]);

/** Returns the HTTP status that an error stands for which comes under another: inside a stream, whose own is 200. */
export function getErrorStatus(error: UntrustedJson): number {
  const words = [error.code, error.status, error.status_code, error.type, error.error_type];
  const found = words.map(Number).find((number) => Number.isInteger(number) && number >= 400 && number < 600);
  if (found !== undefined) return found;
  return words.map((word) => STATUSES.get(wordFrom(word))).find((status) => status !== undefined) ?? 500;
}

/** Makes `RateLimitError`, `rate_limit_error` and `RATE_LIMIT` one word: `rate_limit`. */
function wordFrom(word: unknown): string {
  if (typeof word !== 'string' || word.length > 100) return '';
  return word
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replaceAll('-', '_')
    .replace(/_(error|exception)$/, '');
}

/** Returns what an error's body says: `{"error":{"message":"..."}}` and its relatives, else its own text. */
export function extractErrorMessage(body: string): string {
  try {
    const { error, message, detail } = JSON.parse(body);
    const said = error?.message ?? (typeof error === 'string' ? error : (message ?? detail));
    if (said !== undefined) return getErrorMessage(typeof said === 'string' ? said : JSON.stringify(said));
  } catch {
    // A proxy's page, or nothing: shown as it is.
  }
  return getErrorMessage(body.slice(0, 4000)) || 'no reason given';
}
