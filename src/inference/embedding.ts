import { AnyserveError } from '../core/errors.js';
import type { Tensors } from './inference-data.js';
import { tensorToTexts } from './tensor-json.js';
import type { TensorSpec } from './tensor-spec.js';

/** Inputs of an embedding model: the texts. */
export const EMBEDDING_INPUTS: readonly TensorSpec[] = [{ name: 'input', datatype: 'BYTES', shape: [-1] }];

/** Outputs of an embedding model: one vector per text, in the order of the texts. */
export const EMBEDDING_OUTPUTS: readonly TensorSpec[] = [{ name: 'embedding', datatype: 'FP32', shape: [-1, -1] }];

/** Returns the texts of a request to an embedding model. Throws `invalid_argument` if there are none. */
export function readEmbeddingTexts({ input }: Tensors): string[] {
  const texts = input ? tensorToTexts(input) : [];
  if (texts.length > 0) return texts;
  throw new AnyserveError('invalid_argument', 'input "input" has no text to embed');
}
