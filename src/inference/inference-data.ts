import type { Json, JsonNumber } from '../json/json-value.js';
import type { DataByDatatype, Datatype, NumericArray } from './datatype.js';

/*
 * The data of an inference, independent of its encoding. This file must not import the encoding: the library's public types
 * use it, and must compile in projects without the types of Node.js or gRPC.
 */

/** Parameters of a request, a response or a tensor, by name. Examples: a sampling temperature, a finish reason. */
export type Parameters = Readonly<Record<string, ParameterValue>>;

/** The value of a parameter. Integers are sent as int64, other numbers as double; `{ double: 1 }` sends an integer as double. */
export type ParameterValue = boolean | number | bigint | string | { readonly double: number };

/** The elements of a tensor in row-major order: booleans for BOOL, byte strings for BYTES, otherwise a typed array. */
export type TensorData = DataByDatatype[Datatype];

/** A tensor. `data` has as many elements as the product of `shape`; the empty shape is a scalar. */
export interface Tensor<D extends Datatype = Datatype> {
  readonly datatype: D;
  readonly shape: readonly number[];
  readonly data: DataByDatatype[D];
  /** Parameters of this tensor alone: a `content_type`, for example. Default: none. */
  readonly parameters?: Parameters;
}

/**
 * Tensors by name, in order, except that names that are integers come first, as in every JavaScript object. The object
 * has no prototype, so `__proto__` is an ordinary name.
 */
export type Tensors = Readonly<Record<string, Tensor>>;

/** A requested output with parameters: Triton's `classification`, for example. */
export interface RequestedOutput {
  readonly name: string;
  readonly parameters?: Parameters | undefined;
}

/** The response to one inference. */
export interface InferenceResponse {
  readonly model: string;
  readonly version: string;
  readonly id: string;
  readonly outputs: Tensors;
  readonly parameters: Parameters;
}

/** Metadata of a replica's server. */
export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

/** Metadata of a model: the inputs and outputs that it declares. */
export interface ModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  readonly properties: ReadonlyMap<string, string>;
}

/** Metadata of an input or an output. */
export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  /** -1 stands for a dimension of any size. */
  readonly shape: readonly bigint[];
}

/** The outputs that a handler returns, by name: tensors, typed arrays or plain values. */
export type HandlerOutputs = Readonly<Record<string, TensorValue>>;

/** Marks the class in every copy of the library. A module can import a copy other than the worker's. */
const HANDLER_RESPONSE = Symbol.for('anyserve.HandlerResponse');

/** Outputs with parameters, such as the finish reason and the token counts of a generated text. */
export class HandlerResponse {
  readonly outputs: HandlerOutputs;
  readonly parameters: Parameters;

  constructor(outputs: HandlerOutputs, parameters: Parameters) {
    this.outputs = outputs;
    this.parameters = parameters;
  }
}

// Not declared in the class, so that its type is compatible with that of another copy.
Object.defineProperty(HandlerResponse.prototype, HANDLER_RESPONSE, { value: true });

/** Returns whether a value is a {@link HandlerResponse}, of this or another copy of the library. */
export function isHandlerResponse(value: unknown): value is HandlerResponse {
  return typeof value === 'object' && value !== null && HANDLER_RESPONSE in value;
}

/** The result of a handler, or one message of a streamed result. */
export type HandlerResult = HandlerOutputs | HandlerResponse;

/** One element, from a program or from JSON. In JSON, bytes that aren't UTF-8 are `{"b64": "..."}`. */
export type ElementValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | JsonNumber
  | ReadonlyMap<string, Json>
  | null;

/**
 * A value that can be converted to a tensor: a tensor, a typed array, or a plain value, single or nested to the shape. A
 * typed array determines the datatype. A plain value gets the declared datatype, or else an inferred one.
 */
export type TensorValue = Tensor | NumericArray | ElementValue | NestedValues;

/** Plain values in nested arrays. At each depth, all arrays have the same length. */
export type NestedValues = readonly (ElementValue | NestedValues)[];
