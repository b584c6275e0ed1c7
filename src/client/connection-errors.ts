import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import { explainTlsError } from '../core/tls.js';

/** Error of an attempt in which the replica did no work, for example because it can't be connected to. */
export class NotStartedError extends AnyserveError {}

/** Error of a replica that hasn't responded within the connect timeout: its process is frozen, or its host is gone. */
export class ConnectTimeoutError extends NotStartedError {}

/** Error of an attempt that ended without a response after the request was sent, because the connection broke. */
export class BrokenConnectionError extends AnyserveError {}

/** Error of a call that a replica ended with a gRPC status. The message has its text, which can repeat text of the request. */
export class ReplicaStatusError extends AnyserveError {}

/** Error of a replica whose response is not valid HTTP. */
export class InvalidResponseError extends AnyserveError {}

/** Creates the error of a call that needs the list of replicas before any API server has sent it. */
export function createNoListError(): AnyserveError {
  return new AnyserveError('server_unreachable', 'no API server has sent a list of replicas');
}

const CONNECTION_ERROR_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ENOENT: 'no such socket',
  ETIMEDOUT: 'no response in time',
  ECONNRESET: 'it closed the connection without a response',
};

/** Explains a system error of a connection, or an error of Node's HTTP parser. */
export function explainConnectionError(error: unknown): string {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code.startsWith('HPE_')) return 'its response is not HTTP';
  return CONNECTION_ERROR_REASONS[code] ?? getErrorMessage(error);
}

/** Converts a system error of a connection into `unavailable`. The message begins with `place`. */
export function toConnectionError(place: string, error: unknown): NotStartedError {
  const reason = explainTlsError(error) ?? explainConnectionError(error);
  return new NotStartedError('unavailable', `${place}: ${reason}`, { cause: error });
}
/** The failure of a call that no replica takes now: all are at their limit, or ask not to be called. */
export class BusyError extends AnyserveError {
  /** Time after which a replica can be called again, in ms. */
  readonly retryAfterMs: number;

  constructor(code: ErrorCode, message: string, retryAfterMs: number, options?: { cause?: unknown }) {
    super(code, message, options);
    this.retryAfterMs = retryAfterMs;
  }
}
