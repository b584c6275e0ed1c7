/** A value of a GGUF file's metadata; a whole number is written as 32 bits without a sign. */
export type GgufValue =
  | string
  | boolean
  | number
  | { readonly float: number }
  | readonly string[]
  | Float32Array
  | Int32Array;

/** A tensor of a GGUF file; the length of a row is the first number of its shape. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly encoding: 'F32' | 'Q8_0';
  readonly data: Float32Array;
}

/** A GGUF file's bytes. */
export function ggufBytes(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Buffer;
