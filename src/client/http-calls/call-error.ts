import { type AnyserveError, type ErrorCode, getErrorMessage, toHttpStatus } from '../../core/errors.js';
import { readPushBackMs } from '../balancing/push-back.js';
import { BusyError, createNoListError, InvalidResponseError, ReplicaStatusError } from '../connection-errors.js';
import { HttpStatusError } from './http-failure.js';
import type { OpenaiError } from './openai-error.js';

/** Maximum number of errors in a chain of causes. */
const MAX_CAUSES = 5;

/**
 * Creates the headers that say when a call can be repeated. OpenAI's clients do not repeat it with `x-should-retry: false`, for a
 * call that was already tried at another replica.
 */
export function createRetryHeaders(error: AnyserveError, attempts: number): Record<string, string> {
  return {
    ...(error instanceof BusyError && { 'retry-after': String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))) }),
    ...(attempts > 1 && { 'x-should-retry': 'false' }),
  };
}

/** Returns the response of the replica that failed last; undefined if there was none. */
export function findStatusError(error: AnyserveError): HttpStatusError | undefined {
  return findCause(error, HttpStatusError);
}

/** Returns the first error of a class in the chain of causes. */
export function findCause<T extends Error>(
  error: Error,
  type: abstract new (...parameters: never[]) => T,
): T | undefined {
  let cause: unknown = error;
  for (let depth = 0; depth < MAX_CAUSES && cause instanceof Error; depth++) {
    if (cause instanceof type) return cause;
    cause = cause.cause;
  }
  return undefined;
}

/** Describes a failure for logs. Leaves out the message of an engine, which can repeat text of the request. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return getErrorMessage(error);
  const http = findCause(error, HttpStatusError);
  if (http) return `the last response was HTTP ${http.response.status}`;
  const grpc = findCause(error, ReplicaStatusError);
  return grpc ? `the last response had the gRPC status ${grpc.code.toUpperCase()}` : getErrorMessage(error);
}

/**
 * Statuses of errors of replicas that speak gRPC, where they differ from those of the code: for a caller of OpenAI's API, a
 * parameter that no replica supports is its mistake, and a token that the gateway lacks is not.
 */
const STATUSES: Partial<Readonly<Record<ErrorCode, number>>> = {
  no_match: 503,
  server_unreachable: 503,
  unimplemented: 400,
  failed_precondition: 400,
  unauthenticated: 502,
  permission_denied: 502,
  cancelled: 502,
};

/** The parameter or input that an error of a replica or of the translation names. */
const NAMED_PARAMETER = /\b(?:parameter|input) "([\w.-]{1,64})"/;

/** The member of a request that becomes an input with another name. */
const MEMBERS_BY_INPUT: Readonly<Record<string, string>> = { text_input: 'prompt' };

/** Converts the error of a call that has no response of a replica. */
export function toOpenaiError(error: AnyserveError, attempts: number): OpenaiError {
  const { code, message } = error;
  const status = findCause(error, InvalidResponseError) ? 502 : (STATUSES[code] ?? toHttpStatus(code));
  const isRequest = status < 500 && status !== 429;
  const param = isRequest ? NAMED_PARAMETER.exec(message)?.[1] : undefined;
  const retryAfterS = Math.ceil((readPushBackMs(error) ?? 0) / 1000);
  return {
    status,
    message,
    type: isRequest ? 'invalid_request_error' : 'server_error',
    code,
    param: param === undefined ? null : (MEMBERS_BY_INPUT[param] ?? param),
    headers: {
      ...((status === 503 || retryAfterS > 0) && { 'retry-after': String(Math.max(1, retryAfterS)) }),
      ...createRetryHeaders(error, attempts),
    },
  };
}

/** The error for a request that needs the list of replicas before any API server has sent it. */
export const NO_LIST_ERROR = toOpenaiError(createNoListError(), 0);
