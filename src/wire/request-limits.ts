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

const MOST = {
  inputs: MAX_TENSORS,
  outputs: MAX_TENSORS,
  'raw contents': MAX_TENSORS,
  parameters: MAX_TENSORS,
  'BYTES elements': MAX_BYTES_ELEMENTS,
} as const;

/** Counts what a request holds while it is read, so that one that holds too much is refused before it takes memory. */
export class RequestCount {
  readonly #counts = { inputs: 0, outputs: 0, 'raw contents': 0, parameters: 0, 'BYTES elements': 0 };

  /** One more. Throws `invalid_argument`, as for whatever would be refused anywhere. */
  add(what: keyof typeof MOST): void {
    if (++this.#counts[what] > MOST[what]) throw exceeded(what, MOST[what]);
  }

  /** Told of the dimensions of a tensor. Throws as {@link add}. */
  checkDimensions(dimensions: number): void {
    if (dimensions > MAX_DIMENSIONS) throw exceeded('dimensions', MAX_DIMENSIONS);
  }
}

function exceeded(what: string, most: number): AnyserveError {
  return new AnyserveError('invalid_argument', `a request has at most ${most} ${what}`);
}
