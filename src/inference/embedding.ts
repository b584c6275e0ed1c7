import { AnyserveError } from '../core/errors.js';
import type { Tensors } from './inference-data.js';
import { tensorToTexts } from './tensor-json.js';
import type { TensorSpec } from './tensor-spec.js';

/** What a model that turns texts into vectors takes. */
export const EMBEDDING_INPUTS: readonly TensorSpec[] = [{ name: 'input', datatype: 'BYTES', shape: [-1] }];

/** What a model that turns texts into vectors gives: one vector a text, in the order of the texts. */
export const EMBEDDING_OUTPUTS: readonly TensorSpec[] = [{ name: 'embedding', datatype: 'FP32', shape: [-1, -1] }];

/** The texts of a request to such a model. Throws `invalid_argument` when there is none. */
export function readEmbeddingTexts({ input }: Tensors): string[] {
  const texts = input ? tensorToTexts(input) : [];
  if (texts.length > 0) return texts;
  throw new AnyserveError('invalid_argument', 'input "input" has no text to turn into a vector');
}
