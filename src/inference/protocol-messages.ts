import type { ContentsField } from './datatype.js';
import type { InferParameter, ModelInferRequest, ModelInferResponse } from './gen/open_inference.js';
import type { Elements } from './protobuf-packing.js';

/** The typed contents of a tensor, by field. The decoder produces typed arrays, except for booleans and bytes. */
export type TensorContents = {
  [Field in ContentsField]?: Field extends 'bytesContents' ? readonly Uint8Array[] : Elements;
};

/** Parameters by name. */
export type ParametersMessage = ReadonlyMap<string, InferParameter>;

/** The empty parameters, shared by all messages. Most tensors have none, and a map would take most of the memory of a short one. */
export const NO_PARAMETERS: ParametersMessage = new Map();

/** A tensor of a request or a response. With raw data, `contents` is absent. */
export interface TensorMessage {
  name: string;
  datatype: string;
  shape: bigint[];
  parameters: ParametersMessage;
  contents?: TensorContents | undefined;
}

/** A requested output. */
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

/** `ModelStreamInferResponse`: a message of a response stream, or an error. */
export interface StreamResponseMessage {
  errorMessage: string;
  inferResponse: ResponseMessage | undefined;
}
