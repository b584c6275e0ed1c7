import type { Parameters } from './inference-data.js';
import type { TensorValue } from './tensor-value.js';

/** The outputs that a handler returns, by name: tensors, typed arrays or plain values. */
export type HandlerOutputs = Readonly<Record<string, TensorValue>>;

/** Outputs with parameters, such as the finish reason and the token counts of a generated text. */
export class HandlerResponse {
  readonly outputs: HandlerOutputs;
  readonly parameters: Parameters;

  constructor(outputs: HandlerOutputs, parameters: Parameters) {
    this.outputs = outputs;
    this.parameters = parameters;
  }
}

/** The result of a handler, or one message of a streamed result. */
export type HandlerResult = HandlerOutputs | HandlerResponse;
