import type { Parameters } from './inference-data.js';
import type { TensorValue } from './tensor-value.js';

/** Outputs by name, as a handler returns them: tensors, typed arrays or plain values. */
export type HandlerOutputs = Readonly<Record<string, TensorValue>>;

/** Outputs with parameters: why a text ended, how many tokens it took. */
export class HandlerResponse {
  readonly outputs: HandlerOutputs;
  readonly parameters: Parameters;

  constructor(outputs: HandlerOutputs, parameters: Parameters) {
    this.outputs = outputs;
    this.parameters = parameters;
  }
}

/** The result of a handler, or one part of it. */
export type HandlerResult = HandlerOutputs | HandlerResponse;
