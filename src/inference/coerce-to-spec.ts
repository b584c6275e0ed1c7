import { AnyserveError } from '../core/errors.js';
import type { ElementValue, NestedValues, Tensor } from './inference-data.js';
import { requireMatchingShape } from './tensor-message.js';
import { formatTensorSpec, type TensorSpec } from './tensor-spec.js';
import { flattenNested, toTensorData } from './tensor-value.js';

/**
 * Converts a plain value, single or nested, to a tensor with the datatype and the shape that a model declares. -1 in the
 * shape matches any size. The value can have that shape, lack leading dimensions that can be 1 (a batch of one), or be a
 * flat list with exactly the elements of the shape. Throws `invalid_argument` with the declared and the actual shape.
 */
export function coerceToSpec(label: string, value: ElementValue | NestedValues, spec: TensorSpec): Tensor {
  const declared = formatTensorSpec(spec);
  const { elements, nesting } = flattenNested(`${label} (the model declares ${declared})`, value);
  const shape = matchNesting(spec.shape, nesting) ?? fillShape(spec.shape, nesting, elements.length);
  if (!shape) {
    const message = `${label}: the model declares ${declared}, got ${formatNesting(nesting)}`;
    throw new AnyserveError('invalid_argument', message);
  }
  const data = toTensorData(`${label} (the model declares ${declared})`, spec.datatype, elements);
  return requireMatchingShape(label, { datatype: spec.datatype, shape, data });
}

/** Returns the nesting, with a 1 for each missing leading dimension, if it matches the declared shape. Undefined otherwise. */
function matchNesting(declared: readonly number[], nesting: readonly number[]): readonly number[] | undefined {
  const missing = declared.length - nesting.length;
  if (missing < 0) return undefined;
  const shape = [...new Array<number>(missing).fill(1), ...nesting];
  return shape.every((size, axis) => declared[axis] === -1 || declared[axis] === size) ? shape : undefined;
}

/** Returns the declared shape if flat elements fill it in row-major order. One dimension of any size takes the size that remains. */
function fillShape(
  declared: readonly number[],
  nesting: readonly number[],
  count: number,
): readonly number[] | undefined {
  const variable = declared.filter((size) => size === -1).length;
  if (nesting.length > 1 || variable > 1) return undefined;
  const known = declared.reduce((product, size) => (size === -1 ? product : product * size), 1);
  if (variable === 0) return known === count ? declared : undefined;
  const remaining = count / known;
  return Number.isInteger(remaining) ? declared.map((size) => (size === -1 ? remaining : size)) : undefined;
}

function formatNesting(nesting: readonly number[]): string {
  const [length, ...inner] = nesting;
  if (length === undefined) return 'a single value';
  return inner.length === 0 ? `a list of ${length}` : `nested lists of shape [${nesting.join(',')}]`;
}
