import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { DATATYPE_NAMES, type Datatype, isDatatype } from './datatype.js';
import type { Tensor } from './inference-data.js';

/** What a model says of one of its inputs or outputs. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  /** -1 stands for a dimension of any size. */
  readonly shape: readonly number[];
  /** Whether a request may leave it out. */
  readonly optional?: boolean;
}

const SPEC = /^([A-Z0-9]+)(?:\[([^\]]*)\])?$/;

/**
 * Reads a datatype and a shape as people write them: `FP32[2,3]`, `FP32[-1]`, and without a shape `FP32`. `label`
 * names the tensor in the error. Throws `invalid_argument`.
 */
export function parseTensorSpec(label: string, text: string): { datatype: Datatype; shape: number[] | undefined } {
  const [, datatype = '', sizes] = SPEC.exec(text) ?? [];
  if (!isDatatype(datatype)) {
    throw invalid(label, `${quote(text)} is no datatype like FP32 or FP32[2,3]; the datatypes are ${DATATYPE_NAMES}`);
  }
  if (sizes === undefined) return { datatype, shape: undefined };
  const shape =
    sizes.trim() === '' ? [] : sizes.split(',').map((size) => (/^\s*-?\d+\s*$/.test(size) ? Number(size) : Number.NaN));
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= -1)) {
    throw invalid(label, `${quote(text)} has no shape like [2,3]`);
  }
  return { datatype, shape };
}

/** `FP32[-1,3]`, as {@link parseTensorSpec} reads it. */
export function formatTensorSpec({ datatype, shape }: { datatype: string; shape: readonly number[] }): string {
  return `${datatype}[${shape.join(',')}]`;
}

/** Holds a tensor against what was declared of it. Throws `invalid_argument` with declared and given. */
export function checkAgainstSpec(label: string, spec: TensorSpec, tensor: Tensor): void {
  const fits =
    tensor.datatype === spec.datatype &&
    tensor.shape.length === spec.shape.length &&
    spec.shape.every((size, axis) => size === -1 || size === tensor.shape[axis]);
  if (!fits) throw invalid(label, `the model declares ${formatTensorSpec(spec)}, given is ${formatTensorSpec(tensor)}`);
}

function invalid(label: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${label}: ${problem}`);
}
