import type { ContentsField } from './datatype.js';
import type { InferParameter, ModelInferRequest, ModelInferResponse } from './gen/open_inference.js';
import type { Elements } from './packed-elements.js';

/** The typed contents of a tensor, by field; what is read from the wire is typed arrays, but for booleans and bytes. */
export type TensorContents = {
  [Field in ContentsField]?: Field extends 'bytesContents' ? readonly Uint8Array[] : Elements;
};

/** What a request and an answer say of a tensor; with raw data, its contents are absent. */
export interface TensorMessage {
  name: string;
  datatype: string;
  shape: bigint[];
  parameters: Map<string, InferParameter>;
  contents?: TensorContents | undefined;
}

/** `ModelInferRequest`, with tensors as {@link TensorMessage}. */
export interface RequestMessage extends Omit<ModelInferRequest, 'inputs' | 'rawInputContents'> {
  inputs: TensorMessage[];
  rawInputContents: Uint8Array[];
}

/** `ModelInferResponse`, with tensors as {@link TensorMessage}. */
export interface AnswerMessage extends Omit<ModelInferResponse, 'outputs' | 'rawOutputContents'> {
  outputs: TensorMessage[];
  rawOutputContents: Uint8Array[];
}

/** `ModelStreamInferResponse`: a part of an answer, or what went wrong. */
export interface PartMessage {
  errorMessage: string;
  inferResponse: AnswerMessage | undefined;
}
