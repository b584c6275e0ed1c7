import { AnyserveError } from '../core/errors.js';
import type { Tensor } from './inference-data.js';
import { requireMatchingShape } from './tensor.js';
import { formatTensorSpec, type TensorSpec } from './tensor-spec.js';
import { type ElementValue, flattenNested, type NestedValues, packElements } from './tensor-value.js';

/**
 * Makes exactly the tensor that a model declares of a plain value, one or nested: its datatype, and its shape, in which
 * -1 stands for any size. The value has that shape, or lacks leading dimensions that can be 1 (a batch of one), or is
 * flat and has as many elements as fill it. Throws `invalid_argument` with declared and given.
 */
export function coerceToSpec(label: string, value: ElementValue | NestedValues, spec: TensorSpec): Tensor {
  const { elements, nesting } = flattenNested(`${label} (the model declares ${formatTensorSpec(spec)})`, value);
  const shape = fittingShape(spec.shape, nesting) ?? filledShape(spec.shape, nesting, elements.length);
  if (!shape) {
    const message = `${label}: the model declares ${formatTensorSpec(spec)}, given is ${describe(nesting)}`;
    throw new AnyserveError('invalid_argument', message);
  }
  const data = packElements(`${label} (the model declares ${formatTensorSpec(spec)})`, spec.datatype, elements);
  return requireMatchingShape(label, { datatype: spec.datatype, shape, data });
}

/** The nesting itself where it fits, behind a 1 for each leading dimension it lacks; undefined where it does not. */
function fittingShape(declared: readonly number[], nesting: readonly number[]): readonly number[] | undefined {
  const lacking = declared.length - nesting.length;
  if (lacking < 0) return undefined;
  const shape = [...new Array<number>(lacking).fill(1), ...nesting];
  return shape.every((size, axis) => declared[axis] === -1 || declared[axis] === size) ? shape : undefined;
}

/** The declared shape when flat elements fill it in row-major order; one dimension of any size takes what is left over. */
function filledShape(
  declared: readonly number[],
  nesting: readonly number[],
  count: number,
): readonly number[] | undefined {
  const open = declared.filter((size) => size === -1).length;
  if (nesting.length > 1 || open > 1) return undefined;
  const known = declared.reduce((product, size) => (size === -1 ? product : product * size), 1);
  if (open === 0) return known === count ? declared : undefined;
  const rest = count / known;
  return Number.isInteger(rest) ? declared.map((size) => (size === -1 ? rest : size)) : undefined;
}

function describe(nesting: readonly number[]): string {
  const [length, ...inner] = nesting;
  if (length === undefined) return 'a single value';
  return inner.length === 0 ? `a list of ${length}` : `nested lists of shape [${nesting.join(',')}]`;
}
