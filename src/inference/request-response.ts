import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { InferenceResponse, Parameters, RequestedOutput, Tensor, Tensors } from './inference-data.js';
import { MessageCounter } from './message-limits.js';
import { toParameters, toParametersMessage } from './parameters.js';
import { NO_PARAMETERS, type RequestMessage, type ResponseMessage, type TensorMessage } from './protocol-messages.js';
import { isRawOnly, parseTensorMessage, toRawContents, toTensorContents } from './tensor.js';

/** One inference as it is asked for. */
export interface InferenceRequest {
  readonly model: string;
  /** Empty: the server chooses. */
  readonly version: string;
  readonly id: string;
  readonly inputs: Tensors;
  readonly parameters: Parameters;
  /** The outputs wanted; none: all. */
  readonly outputs: readonly string[];
  /** What is said of single outputs of those, by name. */
  readonly outputParameters?: Readonly<Record<string, Parameters>>;
  /** Whether the tensors travel as raw bytes; a request's answer takes the request's form. */
  readonly raw: boolean;
}

/** One inference as a caller asks for it. */
export interface OutgoingRequest extends Omit<InferenceRequest, 'outputs' | 'outputParameters'> {
  readonly outputs: readonly (string | RequestedOutput)[];
}

/** The message of a request. */
export function toRequestMessage(request: OutgoingRequest): RequestMessage {
  const { tensors, raw } = packed(request.inputs, request.raw);
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

/** The request of a message. Throws `invalid_argument` that names the input. */
export function toInferenceRequest(message: RequestMessage): InferenceRequest {
  return {
    model: message.modelName,
    version: message.modelVersion,
    id: message.id,
    inputs: unpacked('input', message.inputs, message.rawInputContents),
    parameters: toParameters(message.parameters),
    outputs: message.outputs.map(({ name }) => name),
    ...outputParametersFrom(message),
    raw: message.rawInputContents.length > 0,
  };
}

/** What is said of single outputs that are wanted; nothing where it is nothing, as nearly always. */
function outputParametersFrom({ outputs }: RequestMessage): Pick<InferenceRequest, 'outputParameters'> {
  const told = outputs.filter(({ parameters }) => parameters.size > 0);
  if (told.length === 0) return {};
  const outputParameters: Record<string, Parameters> = Object.create(null);
  for (const { name, parameters } of told) outputParameters[name] = toParameters(parameters);
  return { outputParameters };
}

/** The message of an answer; raw where the request was, or where an output cannot travel otherwise. */
export function toResponseMessage(answer: InferenceResponse, raw: boolean): ResponseMessage {
  const { tensors, raw: rawContents } = packed(answer.outputs, raw);
  return {
    modelName: answer.model,
    modelVersion: answer.version,
    id: answer.id,
    parameters: toParametersMessage(answer.parameters),
    outputs: tensors,
    rawOutputContents: rawContents,
  };
}

/** The answer of a message. Throws `invalid_argument` that names the output. */
export function toInferenceResponse(message: ResponseMessage): InferenceResponse {
  return {
    model: message.modelName,
    version: message.modelVersion,
    id: message.id,
    outputs: unpacked('output', message.outputs, message.rawOutputContents),
    parameters: toParameters(message.parameters),
  };
}

function packed(tensors: Tensors, raw: boolean) {
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

function unpacked(kind: 'input' | 'output', messages: readonly TensorMessage[], raw: readonly Uint8Array[]): Tensors {
  if (raw.length > 0 && raw.length !== messages.length) {
    throw new AnyserveError(
      'invalid_argument',
      `${raw.length} raw contents for ${messages.length} ${kind}s; either each ${kind} is raw or none`,
    );
  }
  const tensors: Record<string, Tensor> = Object.create(null);
  const count = new MessageCounter(kind === 'input' ? 'request' : 'answer');
  for (const [at, message] of messages.entries()) {
    const label = () => `${kind} ${quote(message.name)}`;
    if (message.name in tensors) throw new AnyserveError('invalid_argument', `${label()} is given twice`);
    tensors[message.name] = parseTensorMessage(label, message, raw[at], count);
  }
  return tensors;
}
