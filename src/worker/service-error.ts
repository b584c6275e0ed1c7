import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';

/** Converts an error to the form that grpc-js sends. An error without a code becomes `internal`. Default: no metadata. */
export function toServiceError(error: unknown, metadata = new Metadata()): ServiceError {
  const coded = error instanceof AnyserveError ? error : new AnyserveError('internal', getErrorMessage(error));
  const details = formatStatusDetails(coded.message);
  return Object.assign(new Error(details), { code: coded.grpcStatus, details, metadata });
}

/**
 * Maximum length of an encoded status message. It is sent percent-encoded in a header, and clients reject headers of more
 * than 8 KiB in total.
 */
const MAX_ENCODED_LENGTH = 4096;

/** Returns a message that is valid in a gRPC status: well-formed, and truncated if its encoding would be too long. */
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
