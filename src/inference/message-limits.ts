import { AnyserveError } from '../core/errors.js';
import { ProtobufReader } from './protobuf-reader.js';

/** Maximum value of the option that limits the size of a message, in bytes. gRPC uses signed 32-bit integers. */
export const MAX_MESSAGE_BYTES = 2 ** 31 - 1;

/**
 * Maximum number of inputs, outputs, raw contents and parameters of a message. A field of two bytes in a message becomes an
 * object of 100 bytes in memory, so a message within the size limit could otherwise exhaust the memory. All limits are far
 * beyond the needs of models.
 */
const MAX_TENSORS = 1024;

/** Maximum number of dimensions of a tensor: more than any model has. */
export const MAX_DIMENSIONS = 64;

/** Maximum number of elements of all BYTES tensors of a message. Counted separately for typed and for raw contents. */
const MAX_BYTES_ELEMENTS = 1_000_000;

/** Maximum number of pieces of the typed contents of a message. Encoders should pack each tensor into one. */
const MAX_PIECES = 1_000_000;

/** Maximum size of a metadata response about a server or a model, in bytes. */
const MAX_METADATA_BYTES = 1024 * 1024;

/** Maximum number of fields of a metadata response. Each declared tensor is one. */
const MAX_METADATA_FIELDS = 4 * MAX_TENSORS;

/** Throws `invalid_argument` for a metadata response that would take far more memory than a real one. */
export function checkMetadataSize(bytes: Uint8Array): void {
  if (bytes.length > MAX_METADATA_BYTES) {
    throw new AnyserveError(
      'invalid_argument',
      `the metadata has ${bytes.length} bytes; the maximum is ${MAX_METADATA_BYTES}`,
    );
  }
  const reader = new ProtobufReader(bytes);
  let fields = 0;
  for (let tag = reader.readTag(reader.end); tag !== 0; tag = reader.readTag(reader.end)) {
    if (++fields > MAX_METADATA_FIELDS) {
      throw new AnyserveError('invalid_argument', `the metadata has more than ${MAX_METADATA_FIELDS} fields`);
    }
    reader.skip(tag);
  }
}

/**
 * Counts the contents of a message while it is decoded, so that a message over a limit is refused before it takes memory.
 * Responses are limited like requests, because everyone who can register a replica can send responses.
 */
export class MessageCounter {
  readonly #kind: 'request' | 'response';
  #parameters = 0;
  #elements = 0;
  #pieces = 0;

  constructor(kind: 'request' | 'response') {
    this.#kind = kind;
  }

  /** Checks the number of inputs, outputs or raw contents. Throws `invalid_argument`, so that the call isn't retried. */
  checkTensors(name: 'inputs' | 'outputs' | 'raw contents', count: number): void {
    if (count > MAX_TENSORS) throw this.#createError(name, MAX_TENSORS);
  }

  /** Checks the number of dimensions of a tensor. Throws `invalid_argument`. */
  checkDimensions(dimensions: number): void {
    if (dimensions > MAX_DIMENSIONS) throw this.#createError('dimensions', MAX_DIMENSIONS);
  }

  /** Counts a parameter of the message or of a tensor. Throws `invalid_argument`. */
  addParameter(): void {
    if (++this.#parameters > MAX_TENSORS) throw this.#createError('parameters', MAX_TENSORS);
  }

  /** Counts an element of a BYTES tensor. Throws `invalid_argument`. */
  addElement(): void {
    if (++this.#elements > MAX_BYTES_ELEMENTS) throw this.#createError('BYTES elements', MAX_BYTES_ELEMENTS);
  }

  /** Counts a piece of typed contents. Throws `invalid_argument`. */
  addPiece(): void {
    if (++this.#pieces > MAX_PIECES) throw this.#createError('pieces of typed contents', MAX_PIECES);
  }

  #createError(name: string, maximum: number): AnyserveError {
    return new AnyserveError('invalid_argument', `the ${this.#kind} has more than ${maximum} ${name}`);
  }
}
