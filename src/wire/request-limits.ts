import { AnyserveError } from '../core/errors.js';

/**
 * What a request may hold besides bytes. A field of two bytes in a message becomes an object of a hundred in memory, so
 * that a message within the size limit could otherwise take all there is; these are far beyond what models take.
 */
const MAX_TENSORS = 1024;

/** The most dimensions of a tensor: more than any model has. */
export const MAX_DIMENSIONS = 64;

/** The most elements of BYTES tensors, in a request of typed contents as in a raw tensor. */
export const MAX_BYTES_ELEMENTS = 1_000_000;

/** The most pieces that numbers of typed contents come in, where they should be packed in one. */
const MAX_PIECES = 1_000_000;

/** Counts what a request holds while it is read, so that one that holds too much is refused before it takes memory. */
export class RequestCount {
  #parameters = 0;
  #elements = 0;
  #pieces = 0;

  /** Told how many there are of what comes once a tensor. Throws `invalid_argument`: it would be refused anywhere. */
  checkTensors(what: 'inputs' | 'outputs' | 'raw contents', count: number): void {
    if (count > MAX_TENSORS) throw exceeded(what, MAX_TENSORS);
  }

  /** Told of the dimensions of a tensor. Throws as {@link checkTensors}. */
  checkDimensions(dimensions: number): void {
    if (dimensions > MAX_DIMENSIONS) throw exceeded('dimensions', MAX_DIMENSIONS);
  }

  /** One more parameter, of the request or a tensor. Throws as {@link checkTensors}. */
  addParameter(): void {
    if (++this.#parameters > MAX_TENSORS) throw exceeded('parameters', MAX_TENSORS);
  }

  /** One more element of a BYTES tensor. Throws as {@link checkTensors}. */
  addElement(): void {
    if (++this.#elements > MAX_BYTES_ELEMENTS) throw exceeded('BYTES elements', MAX_BYTES_ELEMENTS);
  }

  /** One more piece of numbers. Throws as {@link checkTensors}. */
  addPiece(): void {
    if (++this.#pieces > MAX_PIECES) throw exceeded('pieces of typed contents', MAX_PIECES);
  }
}

function exceeded(what: string, most: number): AnyserveError {
  return new AnyserveError('invalid_argument', `a request has at most ${most} ${what}`);
}
