import type { ContentsField } from './datatype.js';
import type { InferParameter, ModelInferRequest, ModelInferResponse } from './gen/open_inference.js';
import type { Elements } from './packed-elements.js';

/** The typed contents of a tensor, by field; what is read from the wire is typed arrays, but for booleans and bytes. */
export type TensorContents = {
  [Field in ContentsField]?: Field extends 'bytesContents' ? readonly Uint8Array[] : Elements;
};

/** Parameters by name. */
export type ParametersMessage = ReadonlyMap<string, InferParameter>;

/** The parameters of whatever has none: most tensors, and a map of its own would be most of what a short one takes. */
export const NO_PARAMETERS: ParametersMessage = new Map();

/** What a request and an answer say of a tensor; with raw data, its contents are absent. */
export interface TensorMessage {
  name: string;
  datatype: string;
  shape: bigint[];
  parameters: ParametersMessage;
  contents?: TensorContents | undefined;
}

/** An output that a request wants. */
export interface RequestedOutputMessage {
  name: string;
  parameters: ParametersMessage;
}

/** `ModelInferRequest`, with tensors as {@link TensorMessage}. */
export interface RequestMessage
  extends Omit<ModelInferRequest, 'parameters' | 'inputs' | 'outputs' | 'rawInputContents'> {
  parameters: ParametersMessage;
  inputs: TensorMessage[];
  outputs: RequestedOutputMessage[];
  rawInputContents: Uint8Array[];
}

/** `ModelInferResponse`, with tensors as {@link TensorMessage}. */
export interface ResponseMessage extends Omit<ModelInferResponse, 'parameters' | 'outputs' | 'rawOutputContents'> {
  parameters: ParametersMessage;
  outputs: TensorMessage[];
  rawOutputContents: Uint8Array[];
}

/** `ModelStreamInferResponse`: a part of an answer, or what went wrong. */
export interface StreamResponseMessage {
  errorMessage: string;
  inferResponse: ResponseMessage | undefined;
}
