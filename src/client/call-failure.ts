import type { ServiceError } from '@grpc/grpc-js';
import { AnyserveError, codeFromGrpcStatus, messageOf } from '../core/errors.js';
import { tlsFailure } from './tls-failure.js';

/** What a failure of a call is understood by. */
interface CallTerms {
  readonly isSecure: boolean;
  readonly maxMessageBytes: number;
}

/** The failure of a call to an endpoint that the gRPC library reports. */
export function callFailure(error: ServiceError, endpoint: string, terms: CallTerms): AnyserveError {
  const answered = answeredTooMuch(error, terms);
  if (answered !== undefined) return new AnyserveError('too_large', `${endpoint}: ${answered}`, { cause: error });
  const code = typeof error.code === 'number' ? codeFromGrpcStatus(error.code) : 'internal';
  const details = tlsFailure(error.details) ?? noConnection(error, terms) ?? messageOf(error.details || error);
  return new AnyserveError(code, `${endpoint}: ${details}`, { cause: error });
}

/**
 * An answer that is larger than what is taken here. The library calls it `resource_exhausted`, as a server does that is busy
 * or has a limit of its own; but any other replica's answer would be as large.
 */
function answeredTooMuch({ details }: ServiceError, { maxMessageBytes }: CallTerms): string | undefined {
  const [, bytes, limit] = /^Received message larger than max \((\d+) vs (\d+)\)$/.exec(details) ?? [];
  if (Number(limit) !== maxMessageBytes) return undefined;
  return `the answer has ${bytes} bytes, and at most ${limit} are taken; see --max-message-bytes`;
}

/** What to make of a connection that the other end closes without a word, which the gRPC library reports at length. */
function noConnection({ details }: ServiceError, { isSecure }: CallTerms): string | undefined {
  if (!details.startsWith('No connection established. Last error: Failed to connect')) return undefined;
  const advice = isSecure ? 'does it take the certificate of --tls-cert?' : 'does it speak TLS? see --tls';
  return `it closes the connection at once; ${advice}`;
}
