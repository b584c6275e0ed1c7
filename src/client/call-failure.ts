import { type ServiceError, status } from '@grpc/grpc-js';
import { describeTimeout } from '../core/durations.js';
import { AnyserveError, getErrorMessage, toErrorCode } from '../core/errors.js';
import { explainTlsError } from './tls-failure.js';

/** What a failure of a call is understood by. */
interface CallTerms {
  readonly isSecure: boolean;
  readonly maxMessageBytes: number;
  /** The time that the call had, when that has passed. */
  readonly timeoutMs?: number | undefined;
}

/** The failure of a call to an endpoint that the gRPC library reports. */
export function toCallError(error: ServiceError, endpoint: string, terms: CallTerms): AnyserveError {
  const answered = answeredTooMuch(error, terms);
  if (answered !== undefined) return new AnyserveError('too_large', `${endpoint}: ${answered}`, { cause: error });
  const code = typeof error.code === 'number' ? toErrorCode(error.code) : 'internal';
  const details =
    explainTlsError(error.details) ?? noConnection(error, terms) ?? outOfTime(error, terms) ?? said(error);
  return new AnyserveError(code, `${endpoint}: ${details}`, { cause: error });
}

/** Whether a call failed because the other end does not speak HTTP/2. */
export function isNotHttp2({ details }: ServiceError): boolean {
  return details.startsWith('No connection established');
}

/** The failure of a call to something that speaks HTTP/1.1 and no gRPC. */
export function createNotGrpcError(cause: ServiceError, endpoint: string): AnyserveError {
  const advice = "is this its HTTP port? Triton's gRPC port is 8001 by default, MLServer's is 8081";
  return new AnyserveError('unavailable', `${endpoint}: answers HTTP/1.1 and not gRPC: ${advice}`, { cause });
}

/** Whether a replica gave no reason for a failure, so that nobody knows what was wrong with the call. */
export function hasNoReason({ cause }: AnyserveError): boolean {
  return (cause as Partial<ServiceError> | undefined)?.details === '';
}

/**
 * What a server says of its status. Node drops a status text with a space or a line break at its end, which HTTP/2 does
 * not allow, and Triton ends many of its own so.
 */
function said(error: ServiceError): string {
  if (error.details) return getErrorMessage(error.details);
  return `${status[error.code] ?? error.code} without a reason: the status text is empty, or was not valid HTTP/2`;
}

/** The deadline has passed, whoever noticed it first. */
function outOfTime({ code }: ServiceError, { timeoutMs }: CallTerms): string | undefined {
  if (code !== status.DEADLINE_EXCEEDED || timeoutMs === undefined) return undefined;
  return describeTimeout(timeoutMs);
}

/**
 * An answer that is larger than what is taken here. The library calls it `resource_exhausted`, as a server does that is busy
 * or has a limit of its own; but any other replica's answer would be as large.
 */
function answeredTooMuch({ details }: ServiceError, { maxMessageBytes }: CallTerms): string | undefined {
  const [, bytes, limit] = /^Received message larger than max \((\d+) vs (\d+)\)$/.exec(details) ?? [];
  const inflated = /^Received message that decompresses to a size larger than (\d+)$/.exec(details)?.[1];
  if (Number(inflated) === maxMessageBytes)
    return `the answer has more than ${inflated} bytes; see --max-message-bytes`;
  if (Number(limit) !== maxMessageBytes) return undefined;
  return `the answer has ${bytes} bytes, and at most ${limit} are taken; see --max-message-bytes`;
}

/** What to make of a connection that is no use, which the gRPC library reports at length and with the time of day. */
function noConnection({ details }: ServiceError, { isSecure }: CallTerms): string | undefined {
  if (details.startsWith('No connection established. Last error: Protocol error'))
    return 'answers, and not in HTTP/2: is this the port of a gRPC server?';
  if (!details.startsWith('No connection established. Last error: Failed to connect')) return undefined;
  const advice = isSecure ? 'does it take the certificate of --tls-cert?' : 'does it speak TLS? see --tls';
  return `it closes the connection at once; ${advice}`;
}
