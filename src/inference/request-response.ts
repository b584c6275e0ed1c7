import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { InferenceResponse, Parameters, RequestedOutput, Tensor, Tensors } from './inference-data.js';
import { MessageCounter } from './message-limits.js';
import { toParameters, toParametersMessage } from './parameters.js';
import { NO_PARAMETERS, type RequestMessage, type ResponseMessage, type TensorMessage } from './protocol-messages.js';
import { isRawOnly, parseTensorMessage, toRawContents, toTensorContents } from './tensor-message.js';

/** The request of one inference. */
export interface InferenceRequest {
  readonly model: string;
  /** If empty, the server chooses. */
  readonly version: string;
  readonly id: string;
  readonly inputs: Tensors;
  readonly parameters: Parameters;
  /** The requested outputs. If empty, all. */
  readonly outputs: readonly string[];
  /** Parameters of requested outputs, by name of the output. */
  readonly outputParameters?: Readonly<Record<string, Parameters>>;
  /** Whether the tensors are sent as raw bytes. A response takes the form of its request. */
  readonly raw: boolean;
}

/** The request of one inference before it is sent. */
export interface OutgoingRequest extends Omit<InferenceRequest, 'outputs' | 'outputParameters'> {
  readonly outputs: readonly (string | RequestedOutput)[];
}

/** Converts a request to its message. */
export function toRequestMessage(request: OutgoingRequest): RequestMessage {
  const { tensors, raw } = toTensorMessages(request.inputs, request.raw);
  return {
    modelName: request.model,
    modelVersion: request.version,
    id: request.id,
    parameters: toParametersMessage(request.parameters),
    inputs: tensors,
    outputs: request.outputs.map((output) =>
      typeof output === 'string'
        ? { name: output, parameters: NO_PARAMETERS }
        : { name: output.name, parameters: toParametersMessage(output.parameters ?? {}) },
    ),
    rawInputContents: raw,
  };
}

/** Converts a message to a request. Throws `invalid_argument`, which names the input. */
export function toInferenceRequest(message: RequestMessage): InferenceRequest {
  return {
    model: message.modelName,
    version: message.modelVersion,
    id: message.id,
    inputs: fromTensorMessages('input', message.inputs, message.rawInputContents),
    parameters: toParameters(message.parameters),
    outputs: message.outputs.map(({ name }) => name),
    ...readOutputParameters(message),
    raw: message.rawInputContents.length > 0,
  };
}

/** Returns the parameters of requested outputs. Nearly always there are none; then the property is absent. */
function readOutputParameters({ outputs }: RequestMessage): Pick<InferenceRequest, 'outputParameters'> {
  const withParameters = outputs.filter(({ parameters }) => parameters.size > 0);
  if (withParameters.length === 0) return {};
  const outputParameters: Record<string, Parameters> = Object.create(null);
  for (const { name, parameters } of withParameters) outputParameters[name] = toParameters(parameters);
  return { outputParameters };
}

/** Converts a response to its message. It is raw if the request was raw, or if an output has no typed form. */
export function toResponseMessage(response: InferenceResponse, raw: boolean): ResponseMessage {
  const { tensors, raw: rawContents } = toTensorMessages(response.outputs, raw);
  return {
    modelName: response.model,
    modelVersion: response.version,
    id: response.id,
    parameters: toParametersMessage(response.parameters),
    outputs: tensors,
    rawOutputContents: rawContents,
  };
}

/** Converts a message to a response. Throws `invalid_argument`, which names the output. */
export function toInferenceResponse(message: ResponseMessage): InferenceResponse {
  return {
    model: message.modelName,
    version: message.modelVersion,
    id: message.id,
    outputs: fromTensorMessages('output', message.outputs, message.rawOutputContents),
    parameters: toParameters(message.parameters),
  };
}

function toTensorMessages(tensors: Tensors, raw: boolean) {
  const named = Object.entries(tensors);
  const allRaw = raw || named.some(([, tensor]) => isRawOnly(tensor));
  return {
    tensors: named.map(([name, tensor]) => ({
      name,
      datatype: tensor.datatype,
      shape: tensor.shape.map(BigInt),
      parameters: tensor.parameters ? toParametersMessage(tensor.parameters) : NO_PARAMETERS,
      contents: allRaw ? undefined : toTensorContents(tensor),
    })),
    raw: allRaw ? named.map(([, tensor]) => toRawContents(tensor)) : [],
  };
}

function fromTensorMessages(
  kind: 'input' | 'output',
  messages: readonly TensorMessage[],
  raw: readonly Uint8Array[],
): Tensors {
  if (raw.length > 0 && raw.length !== messages.length) {
    throw new AnyserveError(
      'invalid_argument',
      `${raw.length} raw contents for ${messages.length} ${kind}s; make all ${kind}s raw, or none`,
    );
  }
  const tensors: Record<string, Tensor> = Object.create(null);
  const count = new MessageCounter(kind === 'input' ? 'request' : 'response');
  for (const [index, message] of messages.entries()) {
    const createLabel = () => `${kind} ${quote(message.name)}`;
    if (message.name in tensors) throw new AnyserveError('invalid_argument', `${createLabel()} is given twice`);
    tensors[message.name] = parseTensorMessage(createLabel, message, raw[index], count);
  }
  return tensors;
}
