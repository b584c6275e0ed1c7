import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';

/** JSON from a server's response. It can have any shape, so readers check each field. */
// biome-ignore lint/suspicious/noExplicitAny: readers check each field that they use
export type UntrustedJson = any;

/** An error from an upstream server: its HTTP status, and its body for callers that need details. */
export class UpstreamError extends AnyserveError {
  readonly status: number;
  readonly body: string;

  constructor(status: number, body: string, message: string) {
    super(toErrorCode(status), message);
    this.status = status;
    this.body = body;
  }
}

const ERROR_CODES: Readonly<Record<number, ErrorCode>> = {
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

/** Returns the error code for an HTTP status. A status that isn't an error is `failed_precondition`. */
function toErrorCode(status: number): ErrorCode {
  return ERROR_CODES[status] ?? (status < 500 ? 'failed_precondition' : 'internal');
}

/**
 * HTTP statuses of the error names that servers send as `code`, `type` or `status`: those of OpenAI, Anthropic, vLLM,
 * llama.cpp, TGI and LiteLLM, and the gRPC status names that Google uses. The keys are normalized by
 * {@link normalizeErrorName}.
 */
const STATUS_BY_ERROR_NAME: ReadonlyMap<string, number> = new Map([
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

/** Returns the HTTP status of an error that arrives inside a stream, where the status of the response is 200. */
export function getErrorStatus(error: UntrustedJson): number {
  const names = [error.code, error.status, error.status_code, error.type, error.error_type];
  const number = names.map(Number).find((status) => Number.isInteger(status) && status >= 400 && status < 600);
  if (number !== undefined) return number;
  return (
    names.map((name) => STATUS_BY_ERROR_NAME.get(normalizeErrorName(name))).find((status) => status !== undefined) ??
    500
  );
}

/** Normalizes `RateLimitError`, `rate_limit_error` and `RATE_LIMIT` to `rate_limit`. */
function normalizeErrorName(name: unknown): string {
  if (typeof name !== 'string' || name.length > 100) return '';
  return name
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replaceAll('-', '_')
    .replace(/_(error|exception)$/, '');
}

/** Returns the error of Google's `[{"error":{...}}]`, and any other document unchanged. */
export function unwrapError(json: UntrustedJson): UntrustedJson {
  return Array.isArray(json) && json.length === 1 && json[0]?.error ? json[0] : json;
}

/** Returns the message in an error body: that of `{"error":{"message":"..."}}` and similar forms, otherwise the whole body. */
export function extractErrorMessage(body: string): string {
  try {
    const { error, message, detail } = unwrapError(JSON.parse(body));
    const text = error?.message ?? (typeof error === 'string' ? error : (message ?? detail));
    if (text !== undefined) return getErrorMessage(typeof text === 'string' ? text : JSON.stringify(text));
  } catch {
    // The error page of a proxy, or an empty body.
  }
  return getErrorMessage(body.slice(0, 4000)) || 'no reason given';
}
