import type { ServiceError } from '@grpc/grpc-js';
import type { AnyserveError } from '../../core/errors.js';
import { PUSH_BACK_KEY, parseRetryInfoMs } from '../../inference/trailing-metadata.js';
import { HttpStatusError } from '../http-calls/http-failure.js';

/** A longer time counts as an ejection of this time, in ms. */
export const MAX_PUSH_BACK_MS = 60_000;

/** Maximum number of errors in a chain of causes. */
const MAX_CAUSES = 5;

/**
 * Returns for how long a replica asks not to be called, in ms; undefined if it doesn't ask. Reads the trailers
 * `grpc-retry-pushback-ms` (gRFC A6, where a negative number means that the call must not be retried), `retry-after` (RFC
 * 9110, in seconds) and the `google.rpc.RetryInfo` of the status; of an HTTP response, the header `retry-after`.
 */
export function readPushBackMs(error: AnyserveError): number | undefined {
  if (error instanceof HttpStatusError) return error.pushBackMs;
  const metadata = findMetadata(error);
  if (!metadata) return undefined;
  const [pushBack] = metadata.get(PUSH_BACK_KEY);
  if (typeof pushBack === 'string') return /^-?\d{1,15}$/.test(pushBack) ? Number(pushBack) : -1;
  const [retryAfter] = metadata.get('retry-after');
  if (typeof retryAfter === 'string' && /^\d{1,15}$/.test(retryAfter)) return Number(retryAfter) * 1000;
  const [details] = metadata.get('grpc-status-details-bin');
  return Buffer.isBuffer(details) ? parseRetryInfoMs(details) : undefined;
}

/** Returns the trailers of the gRPC error that caused an error. */
function findMetadata(error: AnyserveError): ServiceError['metadata'] | undefined {
  let cause: unknown = error;
  for (let depth = 0; depth < MAX_CAUSES && cause instanceof Error; depth++) {
    const { metadata } = cause as Partial<ServiceError>;
    if (metadata) return metadata;
    cause = cause.cause;
  }
  return undefined;
}
