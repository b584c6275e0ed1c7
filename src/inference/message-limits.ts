import { AnyserveError } from '../core/errors.js';
import { ProtobufReader } from './protobuf-reader.js';

/** Largest value of the option that limits the size of a message, in bytes: what gRPC can count. */
export const MAX_MESSAGE_BYTES = 2 ** 31 - 1;

/**
 * What a message may hold beside bytes. A field of two bytes in a message becomes an object of a hundred in memory, so
 * that a message within the size limit could otherwise take all there is; these are far beyond what models take.
 */
const MAX_TENSORS = 1024;

/** The most dimensions of a tensor: more than any model has. */
export const MAX_DIMENSIONS = 64;

/** Maximum number of elements of all BYTES tensors of a message: of the typed ones, and of the raw ones. */
const MAX_BYTES_ELEMENTS = 1_000_000;

/** The most pieces that numbers of typed contents come in, where they should be packed in one. */
const MAX_PIECES = 1_000_000;

/** Maximum size of an answer about a server or a model, and of its fields: each tensor that is declared is one. */
const MAX_METADATA_BYTES = 1024 * 1024;
const MAX_METADATA_FIELDS = 4 * MAX_TENSORS;

/** Throws `invalid_argument` for an answer without tensors that would take much more memory than any such answer does. */
export function checkMetadataSize(bytes: Uint8Array): void {
  if (bytes.length > MAX_METADATA_BYTES) {
    throw new AnyserveError(
      'invalid_argument',
      `${bytes.length} bytes of metadata; at most ${MAX_METADATA_BYTES} are read`,
    );
  }
  const reader = new ProtobufReader(bytes);
  let fields = 0;
  for (let tag = reader.tag(reader.end); tag !== 0; tag = reader.tag(reader.end)) {
    if (++fields > MAX_METADATA_FIELDS) {
      throw new AnyserveError('invalid_argument', `metadata has at most ${MAX_METADATA_FIELDS} fields`);
    }
    reader.skip(tag);
  }
}

/**
 * Counts what a message holds while it is read, so that one that holds too much is refused before it takes memory. A
 * replica's answer is counted as a caller's request is: whoever can register can answer.
 */
export class MessageCounter {
  readonly #kind: 'request' | 'answer';
  #parameters = 0;
  #elements = 0;
  #pieces = 0;

  constructor(kind: 'request' | 'answer') {
    this.#kind = kind;
  }

  /** Takes how many there are of what comes once a tensor. Throws `invalid_argument`: it would be refused anywhere. */
  checkTensors(what: 'inputs' | 'outputs' | 'raw contents', count: number): void {
    if (count > MAX_TENSORS) throw this.#exceeded(what, MAX_TENSORS);
  }

  /** Takes the dimensions of a tensor. Throws as {@link checkTensors}. */
  checkDimensions(dimensions: number): void {
    if (dimensions > MAX_DIMENSIONS) throw this.#exceeded('dimensions', MAX_DIMENSIONS);
  }

  /** One more parameter, of the message or a tensor. Throws as {@link checkTensors}. */
  addParameter(): void {
    if (++this.#parameters > MAX_TENSORS) throw this.#exceeded('parameters', MAX_TENSORS);
  }

  /** One more element of a BYTES tensor. Throws as {@link checkTensors}. */
  addElement(): void {
    if (++this.#elements > MAX_BYTES_ELEMENTS) throw this.#exceeded('BYTES elements', MAX_BYTES_ELEMENTS);
  }

  /** One more piece of numbers. Throws as {@link checkTensors}. */
  addPiece(): void {
    if (++this.#pieces > MAX_PIECES) throw this.#exceeded('pieces of typed contents', MAX_PIECES);
  }

  #exceeded(what: string, most: number): AnyserveError {
    const article = this.#kind === 'answer' ? 'an' : 'a';
    return new AnyserveError('invalid_argument', `${article} ${this.#kind} has at most ${most} ${what}`);
  }
}
