import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { checkOptionTypes } from '../core/option-types.js';
import { quote, quoteList } from '../core/quoting.js';
import { coerceToSpec } from '../inference/coerce-to-spec.js';
import type { InferenceResponse, Tensor, Tensors, TensorValue } from '../inference/inference-data.js';
import type { RequestMessage, ResponseMessage } from '../inference/protocol-messages.js';
import { toInferenceResponse, toRequestMessage } from '../inference/request-response.js';
import { isPlainValue, toTensor } from '../inference/tensor-value.js';
import type { InferOptions } from './client-options.js';
import type { InputSpecs } from './declared-model-cache.js';
import type { InferenceChannel } from './inference-channel.js';

/** Input names of text generation calls: AnyServe's prompt, a chat, and Triton's backends for language models. */
const TEXT_INPUT_NAMES = ['prompt', 'messages', 'text_input'];

/** Returns the default timeout of a unary inference, in ms. Text generation has a longer one. */
export function getDefaultTimeoutMs(inputs: Readonly<Record<string, TensorValue>>): number {
  const isText = TEXT_INPUT_NAMES.some((name) => Object.hasOwn(inputs, name));
  return isText ? DEFAULTS.textCallTimeoutMs : DEFAULTS.callTimeoutMs;
}

const ARGUMENT_TYPES = { model: 'string', inputs: 'object' } as const;
const REQUIRED_ARGUMENTS = ['model', 'inputs'] as const;

/** Checks the arguments of a program without TypeScript. Throws `usage`. */
export function checkInferArguments(model: unknown, inputs: unknown): void {
  checkOptionTypes('infer', { model, inputs }, ARGUMENT_TYPES, REQUIRED_ARGUMENTS);
}

/** Creates the request message of an inference. Throws `usage` for a value that doesn't fit the declared input. */
export function createRequestMessage(
  model: string,
  values: Readonly<Record<string, TensorValue>>,
  { version = '', id = '', parameters = {}, outputs = [], raw = false }: InferOptions,
  specs: InputSpecs,
): RequestMessage {
  const inputs: Record<string, Tensor> = Object.create(null);
  for (const [name, value] of Object.entries(values)) inputs[name] = createInputTensor(model, name, value, specs);
  return toRequestMessage({ model, version, id, inputs: inputs as Tensors, parameters, outputs, raw });
}

/**
 * Creates the tensor of an input. A plain value gets the declared datatype and shape; any other value has its own. Throws
 * `usage` for an invalid value, because that is the caller's mistake.
 */
function createInputTensor(model: string, name: string, value: TensorValue, specs: InputSpecs): Tensor {
  const label = `input ${quote(name)}`;
  if (isPlainValue(value) && specs.size > 0 && !specs.has(name)) {
    const validNames = quoteList([...specs.keys()]);
    throw new AnyserveError('usage', `model ${quote(model)} has no ${label}; its inputs: ${validNames}`);
  }
  const spec = specs.get(name);
  try {
    return spec && isPlainValue(value) ? coerceToSpec(label, value, spec) : toTensor(label, value);
  } catch (cause) {
    throw new AnyserveError('usage', getErrorMessage(cause), { cause });
  }
}

/** Parses a response message. Throws `internal` for a malformed message, so that another replica is tried. */
export function parseInferResponse({ endpoint }: InferenceChannel, message: ResponseMessage): InferenceResponse {
  try {
    return toInferenceResponse(message);
  } catch (cause) {
    throw new AnyserveError('internal', `${endpoint}: malformed response: ${getErrorMessage(cause)}`, { cause });
  }
}
