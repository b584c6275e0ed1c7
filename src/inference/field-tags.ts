/*
 * Protobuf tags of the messages that carry tensors: eight times the field number plus the wire type, which is 2 for values
 * with a length prefix. Every tag is one byte.
 */

/** Fields that requests and responses share. */
export const SHARED_TAGS = { modelName: 10, modelVersion: 18, id: 26, parameters: 34, tensor: 42 } as const;

/** Further fields of a request. */
export const REQUEST_TAGS = { output: 50, rawInputContents: 58 } as const;

/** Fields of a requested output. */
export const REQUESTED_OUTPUT_TAGS = { name: 10, parameters: 18 } as const;

/** Further fields of a response. */
export const RESPONSE_TAGS = { rawOutputContents: 50 } as const;

/** Fields of a message of a response stream. */
export const STREAM_RESPONSE_TAGS = { errorMessage: 10, inferResponse: 18 } as const;

/** Fields of an input or output tensor. `size` is one element of the shape, and `shape` is all elements packed. */
export const TENSOR_TAGS = { name: 10, datatype: 18, size: 24, shape: 26, parameters: 34, contents: 42 } as const;

/** The field of typed contents that isn't packed. The other fields are in `protobuf-packing`. */
export const BYTES_CONTENTS_TAG = 66;
