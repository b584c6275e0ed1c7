/** A value in the metadata of a GGUF file. An integer is written as an unsigned 32-bit number. */
export type GgufValue =
  | string
  | boolean
  | number
  | { readonly float: number }
  | readonly string[]
  | Float32Array
  | Int32Array;

/** A tensor of a GGUF file. The first number of the shape is the length of a row. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly encoding: 'F32' | 'Q8_0';
  readonly data: Float32Array;
}

/** Serializes a GGUF file. */
export function serializeGguf(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Buffer;
