import { type ServiceError, status } from '@grpc/grpc-js';
import { describeTimeout } from '../core/durations.js';
import { AnyserveError, getErrorMessage, toErrorCode } from '../core/errors.js';
import { explainTlsError } from './tls-failure.js';

/** Facts about a call that explain its failure. */
interface CallContext {
  readonly isSecure: boolean;
  readonly maxMessageBytes: number;
  /** The call's timeout, if it has passed. */
  readonly timeoutMs?: number | undefined;
}

/** Converts an error of the gRPC library into an `AnyserveError` that names the endpoint and the likely cause. */
export function toCallError(error: ServiceError, endpoint: string, context: CallContext): AnyserveError {
  const oversize = describeOversizedResponse(error, context);
  if (oversize !== undefined) return new AnyserveError('too_large', `${endpoint}: ${oversize}`, { cause: error });
  const code = typeof error.code === 'number' ? toErrorCode(error.code) : 'internal';
  const details =
    explainTlsError(error.details) ??
    describeConnectionFailure(error, context) ??
    describeDeadline(error, context) ??
    describeStatus(error);
  return new AnyserveError(code, `${endpoint}: ${details}`, { cause: error });
}

/** Reports whether a call failed because the other end doesn't speak HTTP/2. */
export function isNotHttp2Error({ details }: ServiceError): boolean {
  return details.startsWith('No connection established');
}

/** Creates the error of a call to a server that speaks HTTP/1.1 instead of gRPC. */
export function createNotGrpcError(cause: ServiceError, endpoint: string): AnyserveError {
  const advice = "is this its HTTP port? Triton's gRPC port is 8001 by default, MLServer's is 8081";
  return new AnyserveError('unavailable', `${endpoint}: speaks HTTP/1.1, not gRPC: ${advice}`, { cause });
}

/** Reports whether a replica gave no reason for a failure. */
export function hasNoReason({ cause }: AnyserveError): boolean {
  return (cause as Partial<ServiceError> | undefined)?.details === '';
}

/**
 * Returns the status text of a server. Node drops a status text that ends in a space or a line break, which HTTP/2 doesn't
 * allow. Many of Triton's status texts do.
 */
function describeStatus(error: ServiceError): string {
  if (error.details) return getErrorMessage(error.details);
  return `${status[error.code] ?? error.code} without a reason: the status text is empty, or was not valid HTTP/2`;
}

/** Describes a passed deadline, whichever side noticed it first; undefined for other failures. */
function describeDeadline({ code }: ServiceError, { timeoutMs }: CallContext): string | undefined {
  if (code !== status.DEADLINE_EXCEEDED || timeoutMs === undefined) return undefined;
  return describeTimeout(timeoutMs);
}

/**
 * Describes a response over our size limit; undefined for other failures. The library reports it as `resource_exhausted`,
 * the code of a server that is busy or has its own limit. But the response of any other replica would be as large.
 */
function describeOversizedResponse({ details }: ServiceError, { maxMessageBytes }: CallContext): string | undefined {
  const [, bytes, limit] = /^Received message larger than max \((\d+) vs (\d+)\)$/.exec(details) ?? [];
  const decompressedLimit = /^Received message that decompresses to a size larger than (\d+)$/.exec(details)?.[1];
  if (Number(decompressedLimit) === maxMessageBytes)
    return `the response has more than ${decompressedLimit} bytes; see --max-message-bytes`;
  if (Number(limit) !== maxMessageBytes) return undefined;
  return `the response has ${bytes} bytes, and the limit is ${limit}; see --max-message-bytes`;
}

/**
 * Describes a connection that can't be used; undefined for other failures. The library's text is long and contains the
 * time of day.
 */
function describeConnectionFailure({ details }: ServiceError, { isSecure }: CallContext): string | undefined {
  if (details.startsWith('No connection established. Last error: Protocol error'))
    return 'does not speak HTTP/2: is this the port of a gRPC server?';
  if (!details.startsWith('No connection established. Last error: Failed to connect')) return undefined;
  const advice = isSecure ? 'does it accept the certificate of --tls-cert?' : 'does it use TLS? see --tls';
  return `it closes the connection at once; ${advice}`;
}
