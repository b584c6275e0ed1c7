import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import { explainTlsError } from '../core/tls.js';

/** Error of an attempt in which the replica did no work, for example because it can't be connected to. */
export class NotStartedError extends AnyserveError {}

/** Error of a replica that hasn't responded within the connect timeout: its process is frozen, or its host is gone. */
export class ConnectTimeoutError extends NotStartedError {}

/** Error of an attempt that ended without a response after the request was sent, because the connection broke. */
export class BrokenConnectionError extends AnyserveError {}

const CONNECTION_ERROR_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ENOENT: 'no such socket',
  ETIMEDOUT: 'no response in time',
};

/** Converts a system error of a connection into `unavailable`. The message begins with `place`. */
export function toConnectionError(place: string, error: unknown): NotStartedError {
  const { code } = error as NodeJS.ErrnoException;
  const reason = explainTlsError(error) ?? CONNECTION_ERROR_REASONS[code ?? ''] ?? getErrorMessage(error);
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
