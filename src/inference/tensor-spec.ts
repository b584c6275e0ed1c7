import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { DATATYPE_NAMES, type Datatype, isDatatype } from './datatype.js';
import type { Tensor } from './inference-data.js';

/** The declaration of an input or an output of a model. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** -1 stands for a dimension of any size. */
  readonly shape: readonly number[];
  /** Whether a request can omit it. Default: false. */
  readonly optional?: boolean;
}

const TENSOR_SPEC = /^([A-Z0-9]+)(?:\[([^\]]*)\])?$/;

/**
 * Parses a datatype and a shape: `FP32[2,3]`, `FP32[-1]`, or `FP32` without a shape. `label` names the tensor in the error.
 * Throws `invalid_argument`.
 */
export function parseTensorSpec(label: string, text: string): { datatype: Datatype; shape: number[] | undefined } {
  const [, datatype = '', sizes] = TENSOR_SPEC.exec(text) ?? [];
  if (!isDatatype(datatype)) {
    throw createError(
      label,
      `${quote(text)} is not a datatype such as FP32 or FP32[2,3]; the datatypes are ${DATATYPE_NAMES}`,
    );
  }
  if (sizes === undefined) return { datatype, shape: undefined };
  const shape =
    sizes.trim() === '' ? [] : sizes.split(',').map((size) => (/^\s*-?\d+\s*$/.test(size) ? Number(size) : Number.NaN));
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= -1)) {
    throw createError(label, `${quote(text)} has an invalid shape; write it like [2,3]`);
  }
  return { datatype, shape };
}

/** Formats a datatype and a shape as `FP32[-1,3]`. {@link parseTensorSpec} parses it. */
export function formatTensorSpec({ datatype, shape }: { datatype: string; shape: readonly number[] }): string {
  return `${datatype}[${shape.join(',')}]`;
}

/** Throws `invalid_argument`, with both, if a tensor doesn't match its declaration. */
export function checkAgainstSpec(label: string, spec: TensorSpec, tensor: Tensor): void {
  const isAccepted =
    tensor.datatype === spec.datatype &&
    tensor.shape.length === spec.shape.length &&
    spec.shape.every((size, axis) => size === -1 || size === tensor.shape[axis]);
  if (!isAccepted)
    throw createError(label, `the model declares ${formatTensorSpec(spec)}, got ${formatTensorSpec(tensor)}`);
}

function createError(label: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${label}: ${problem}`);
}
