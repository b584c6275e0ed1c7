import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';

/** Returns a failure in the form that the gRPC library sends. One without a code is `internal`. */
export function toServiceError(error: unknown): ServiceError {
  const known = error instanceof AnyserveError ? error : new AnyserveError('internal', getErrorMessage(error));
  const details = formatStatusDetails(known.message);
  return Object.assign(new Error(details), { code: known.grpcStatus, details, metadata: new Metadata() });
}

/** Maximum length of an encoded status message: it is a header, percent-encoded, and clients refuse headers over 8 KiB in all. */
const MAX_ENCODED_LENGTH = 4096;

/** Returns a message in the form of a gRPC status: well-formed, and cut where its encoding would be too long. */
export function formatStatusDetails(message: string): string {
  const text = message.toWellFormed();
  let encodedLength = 0;
  let end = 0;
  for (const character of text) {
    encodedLength += encodeURIComponent(character).length;
    if (encodedLength > MAX_ENCODED_LENGTH) return `${text.slice(0, end)}...`;
    end += character.length;
  }
  return text;
}
