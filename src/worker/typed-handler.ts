import type { Datatype } from '../inference/datatype.js';
import type { Tensor, Tensors } from '../inference/inference-data.js';

/** Declaration of an input or output: `FP32[-1,3]`, or `FP32` for one dimension of any length. A `?` makes it optional. */
export type TensorDeclaration = Datatype | `${Datatype}?` | `${Datatype}[${string}]` | `${Datatype}[${string}]?`;

/** Declared inputs or outputs by name. */
export type DeclaredTensors = Readonly<Record<string, TensorDeclaration>>;

/**
 * Inputs of a handler, derived from its model's declaration: `{ a: 'INT32', b: 'FP32[-1,3]?' }` becomes
 * `{ a: Tensor<'INT32'>; b: Tensor<'FP32'> | undefined }`. Without a declaration, they are arbitrary tensors.
 */
export type DeclaredInputs<Declared extends DeclaredTensors> = string extends keyof Declared
  ? Tensors
  : { readonly [Name in keyof Declared]: DeclaredTensor<Declared[Name]> };

type DeclaredTensor<Declaration extends string> = Declaration extends `${infer Present}?`
  ? Tensor<DeclaredDatatype<Present>> | undefined
  : Tensor<DeclaredDatatype<Declaration>>;

type DeclaredDatatype<Text extends string> = Extract<Text extends `${infer Name}[${string}` ? Name : Text, Datatype>;
