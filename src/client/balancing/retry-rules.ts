import type { AnyserveError, ErrorCode } from '../../core/errors.js';
import { BrokenConnectionError, NotStartedError } from '../connection-errors.js';
import { readPushBackMs } from './push-back.js';

/**
 * Kinds of failures, by what they mean for a retry:
 * - `not_started`: the replica did no work, for example because it can't be connected to.
 * - `broken`: the connection broke after the request was sent.
 * - `busy`: the replica refuses calls for now.
 * - `internal`: the replica failed, or its response was malformed.
 * - `incapable`: this replica can't serve the call: it has no such model, or doesn't know a parameter.
 * - `final`: every replica would fail in the same way, or it isn't known whether a repetition is safe.
 */
export type FailureKind = 'not_started' | 'broken' | 'busy' | 'internal' | 'incapable' | 'final';

const KINDS_BY_CODE: Partial<Readonly<Record<ErrorCode, FailureKind>>> = {
  unavailable: 'busy',
  resource_exhausted: 'busy',
  internal: 'internal',
  unimplemented: 'incapable',
  not_found: 'incapable',
};

/** Returns what the failure of an attempt means for a retry. */
export function classifyFailure(error: AnyserveError): FailureKind {
  if (error instanceof NotStartedError) return 'not_started';
  if (error instanceof BrokenConnectionError) return 'broken';
  if ((readPushBackMs(error) ?? 0) < 0) return 'final';
  return error.isFinal ? 'final' : (KINDS_BY_CODE[error.code] ?? 'final');
}
