/**
 * What leads the fields of the messages in which tensors travel: eight times the published number of the field, and 2 where
 * a length comes next. All of them are one byte.
 */

/** The fields that a request and an answer have alike. */
export const SHARED_TAGS = { modelName: 10, modelVersion: 18, id: 26, parameters: 34, tensor: 42 } as const;

/** The other fields of a request. */
export const REQUEST_TAGS = { output: 50, rawInputContents: 58 } as const;

/** The fields of an output that a request wants. */
export const REQUESTED_OUTPUT_TAGS = { name: 10, parameters: 18 } as const;

/** The other field of an answer. */
export const RESPONSE_TAGS = { rawOutputContents: 50 } as const;

/** The fields of a part of an answer. */
export const STREAM_RESPONSE_TAGS = { errorMessage: 10, inferResponse: 18 } as const;

/** The fields of a tensor, an input's or an output's; of its shape there is one element, or all of them packed. */
export const TENSOR_TAGS = { name: 10, datatype: 18, size: 24, shape: 26, parameters: 34, contents: 42 } as const;

/** The field of typed contents that is not packed; the others are in `packed-elements`. */
export const BYTES_CONTENTS_TAG = 66;
