import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, Tensor } from '../inference/inference-data.js';
import type { ParametersMessage, RequestMessage } from '../inference/protocol-messages.js';
import type { InferenceRequest } from '../inference/request-response.js';
import type { Model } from './backend.js';

/** Parameter that names a memory region of the server's machine instead of sending data (an extension of Triton). */
const SHARED_MEMORY = 'shared_memory_region';

/** Throws `unimplemented` for inputs and outputs in shared memory, because their data isn't in the message. */
export function rejectSharedMemory({ inputs, outputs }: RequestMessage): void {
  for (const { name, parameters } of inputs) rejectRegion('input', name, parameters);
  for (const { name, parameters } of outputs) rejectRegion('output', name, parameters);
}

function rejectRegion(kind: string, name: string, parameters: ParametersMessage): void {
  const region = parameters.get(SHARED_MEMORY);
  if (!region) return;
  const regionName = quote(String(region.parameterChoice?.value));
  const message = `${kind} ${quote(name)} is in the shared memory region ${regionName}, but shared memory is not supported; send the data in the message`;
  throw new AnyserveError('unimplemented', message);
}

/** Returns whether a text model can ignore a parameter of an input or output. */
function isHarmless(name: string, value: Parameters[string] | undefined): boolean {
  // The last two describe HTTP bodies. The first states what the text contract requires.
  return (name === 'content_type' && value === 'str') || name === 'binary_data_size' || name === 'binary_data';
}

/** Throws `unimplemented` if a model would ignore a parameter of an individual input or output. */
export function checkTensorParameters(model: Model, { inputs, outputParameters = {} }: InferenceRequest): void {
  if (!model.ignoresTensorParameters) return;
  for (const name in inputs) rejectUnknown(model, 'input', name, inputs[name]?.parameters);
  for (const name in outputParameters) rejectUnknown(model, 'output', name, outputParameters[name]);
}

function rejectUnknown(model: Model, kind: string, name: string, parameters: Parameters = {}): void {
  const unknown = Object.keys(parameters).find((parameter) => !isHarmless(parameter, parameters[parameter]));
  if (unknown === undefined) return;
  const value = String(parameters[unknown]);
  const message = `model ${quote(model.name)} does not support parameter ${quote(unknown)} (${value}) of ${kind} ${quote(name)}`;
  throw new AnyserveError('unimplemented', message);
}

/**
 * Throws `unimplemented` if the caller requested classes for an output (Triton's `classification`) and the handler returned
 * plain values. Classes are strings of the form `VALUE:INDEX:LABEL`; a handler that supports the parameter returns BYTES.
 */
export function checkClassification({ outputParameters = {} }: InferenceRequest, name: string, output: Tensor): void {
  const count = outputParameters[name]?.['classification'];
  if (count === undefined || count === 0 || output.datatype === 'BYTES') return;
  throw new AnyserveError('unimplemented', `output ${quote(name)} can't be returned as classes; omit "classification"`);
}
