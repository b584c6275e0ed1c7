import { type ServiceError, status } from '@grpc/grpc-js';
import { describeTimeout } from '../core/durations.js';
import { AnyserveError, type ErrorCode, getErrorMessage, toErrorCode } from '../core/errors.js';
import { explainTlsError } from '../core/tls.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { formatTensorSpec, type TensorSpec } from '../inference/tensor-spec.js';
import { BrokenConnectionError, NotStartedError, ReplicaStatusError } from './connection-errors.js';

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
    explainTlsError(error.details) ?? describeConnectionFailure(error, context) ?? describeDeadline(error, context);
  const message = `${endpoint}: ${details ?? describeStatus(error)}`;
  if (hasNotStarted(error)) return new NotStartedError(code, message, { cause: error });
  if (hasLostConnection(error)) return new BrokenConnectionError('unavailable', message, { cause: error });
  const ErrorClass = details === undefined ? ReplicaStatusError : AnyserveError;
  return new ErrorClass(code, message, { cause: error });
}

/** Returns whether the replica did no work, because the connection failed or the server refused the stream. */
function hasNotStarted({ code, details }: ServiceError): boolean {
  return code === status.UNAVAILABLE && (details === 'Stream refused by server' || NO_CONNECTION.test(details));
}

/**
 * Returns whether the connection broke during a call. When a process dies, the library sometimes reports the end of the stream
 * before that of the connection, as cancelled.
 */
function hasLostConnection({ code, details }: ServiceError): boolean {
  if (code === status.CANCELLED) return details === 'Call cancelled';
  return code === status.UNAVAILABLE && LOST_CONNECTION.test(details);
}

/** Returns whether a call failed because the other end doesn't speak HTTP/2. */
export function isNotHttp2Error({ details }: ServiceError): boolean {
  return details.startsWith('No connection established');
}

/** Creates the error of a call to a server that speaks HTTP/1.1 instead of gRPC. */
export function createNotGrpcError(cause: ServiceError, endpoint: string): AnyserveError {
  const advice = "is this its HTTP port? Triton's gRPC port is 8001 by default, MLServer's is 8081";
  return new NotStartedError('unavailable', `${endpoint}: speaks HTTP/1.1, not gRPC: ${advice}`, { cause });
}

/** Returns whether a replica gave no reason for a failure. */
export function hasNoReason({ cause }: AnyserveError): boolean {
  return (cause as Partial<ServiceError> | undefined)?.details === '';
}

/**
 * Returns the status text of a server. Node drops a status text that ends in a space or a line break, which HTTP/2 doesn't
 * allow. Many of Triton's status messages do.
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

/** The library's status text for a connection that can't be used. The captured error excludes the time after it. */
const NO_CONNECTION =
  /^No connection established\. Last error: (.{1,1000}?)(?: \(\d{4}-\d\d-\d\dT[\d:.]+Z\)|\. Resolution note:|$)/s;

/** Errors of a connection that the other end closed. Which one occurs depends on timing. */
const CLOSED_CONNECTION =
  /^Failed to connect|ECONNRESET|EPIPE|ECONNABORTED|socket hang up|before secure TLS connection/i;

/** The library's status texts for a connection that broke: its own, and those of the operating system. */
const LOST_CONNECTION = /^Connection dropped$|^(?:read|write) E[A-Z]+$|^Write error: /;

/**
 * Describes a connection that can't be used; undefined for other failures. The library's text is long and contains the
 * time of day.
 */
function describeConnectionFailure({ details }: ServiceError, { isSecure }: CallContext): string | undefined {
  const [, lastError] = NO_CONNECTION.exec(details) ?? [];
  if (lastError === undefined) return undefined;
  if (lastError.startsWith('Protocol error')) return 'does not speak HTTP/2: is this the port of a gRPC server?';
  if (!CLOSED_CONNECTION.test(lastError)) return `cannot connect: ${getErrorMessage(lastError)}`;
  const advice = isSecure ? 'does it accept the certificate of --tls-cert?' : 'does it use TLS? see --tls';
  return `it closes the connection at once; ${advice}`;
}

/** Error codes that have nothing to do with the inputs. */
const INPUT_INDEPENDENT_CODES: ReadonlySet<ErrorCode> = new Set([
  'cancelled',
  'deadline_exceeded',
  'unavailable',
  'resource_exhausted',
  'unauthenticated',
  'permission_denied',
]);

/** Returns whether a replica refused an inference without a reason, so that the declared inputs can help to find it. */
export function needsExplanation(error: unknown): error is AnyserveError {
  return error instanceof AnyserveError && hasNoReason(error) && !INPUT_INDEPENDENT_CODES.has(error.code);
}

/** Adds the declared inputs and the sent inputs to the message of an error. */
export function explainFailure(
  error: AnyserveError,
  specs: ReadonlyMap<string, TensorSpec | undefined>,
  message: RequestMessage,
): AnyserveError {
  const sent = message.inputs.map(
    ({ name, datatype, shape }) => `${name} ${formatTensorSpec({ datatype, shape: shape.map(Number) })}`,
  );
  const declared = [...specs].map(
    ([name, spec]) => `${name} ${spec ? formatTensorSpec(spec) : 'of an unknown datatype'}`,
  );
  const model = JSON.stringify(message.modelName);
  const declares = declared.length > 0 ? `model ${model} declares ${declared.join(', ')}; ` : '';
  return new AnyserveError(error.code, `${error.message}; ${declares}sent: ${sent.join(', ') || 'nothing'}`, {
    cause: error,
  });
}
