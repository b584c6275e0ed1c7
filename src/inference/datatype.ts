/** The typed array of a datatype. FP16 and BF16, which JavaScript lacks, are widened to 32-bit floats. */
export type NumericArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** The elements of a tensor, by its datatype. */
export interface DataByDatatype {
  readonly BOOL: readonly boolean[];
  readonly UINT8: Uint8Array;
  readonly UINT16: Uint16Array;
  readonly UINT32: Uint32Array;
  readonly UINT64: BigUint64Array;
  readonly INT8: Int8Array;
  readonly INT16: Int16Array;
  readonly INT32: Int32Array;
  readonly INT64: BigInt64Array;
  readonly FP16: Float32Array;
  readonly BF16: Float32Array;
  readonly FP32: Float32Array;
  readonly FP64: Float64Array;
  readonly BYTES: readonly Uint8Array[];
}

/** The name of a datatype. */
export type Datatype = keyof DataByDatatype;

/** A field of `InferTensorContents`. */
export type ContentsField =
  | 'boolContents'
  | 'intContents'
  | 'int64Contents'
  | 'uintContents'
  | 'uint64Contents'
  | 'fp32Contents'
  | 'fp64Contents'
  | 'bytesContents';

interface NumericArrayConstructor {
  new (length: number): NumericArray;
  new (buffer: ArrayBuffer): NumericArray;
}

interface DatatypeRow {
  /** Size of one element in raw contents, in bytes. 0 for BYTES, whose elements have a length prefix. */
  readonly bytes: number;
  /** The field of typed contents. Undefined for 16-bit floats, which the protocol has no field for. */
  readonly field: ContentsField | undefined;
  /** The class of the array that holds the elements. Undefined for BOOL and BYTES, which use plain arrays. */
  readonly array: NumericArrayConstructor | undefined;
}

/**
 * The datatypes of the Open Inference Protocol.
 * Source: "Tensor Data Types" of the KServe v2 specification; BF16 as Triton adds it.
 */
export const DATATYPES = {
  BOOL: { bytes: 1, field: 'boolContents', array: undefined },
  UINT8: { bytes: 1, field: 'uintContents', array: Uint8Array },
  UINT16: { bytes: 2, field: 'uintContents', array: Uint16Array },
  UINT32: { bytes: 4, field: 'uintContents', array: Uint32Array },
  UINT64: { bytes: 8, field: 'uint64Contents', array: BigUint64Array },
  INT8: { bytes: 1, field: 'intContents', array: Int8Array },
  INT16: { bytes: 2, field: 'intContents', array: Int16Array },
  INT32: { bytes: 4, field: 'intContents', array: Int32Array },
  INT64: { bytes: 8, field: 'int64Contents', array: BigInt64Array },
  FP16: { bytes: 2, field: undefined, array: Float32Array },
  BF16: { bytes: 2, field: undefined, array: Float32Array },
  FP32: { bytes: 4, field: 'fp32Contents', array: Float32Array },
  FP64: { bytes: 8, field: 'fp64Contents', array: Float64Array },
  BYTES: { bytes: 0, field: 'bytesContents', array: undefined },
} as const satisfies Record<Datatype, DatatypeRow>;

/** Returns whether a string is the name of a datatype. */
export function isDatatype(text: string): text is Datatype {
  return Object.hasOwn(DATATYPES, text);
}

/** The names of all datatypes, for error messages. */
export const DATATYPE_NAMES = Object.keys(DATATYPES).join(', ');

/** Returns the properties of a datatype, typed the same for all datatypes. */
export function getDatatypeInfo(datatype: Datatype): DatatypeRow {
  return DATATYPES[datatype];
}
