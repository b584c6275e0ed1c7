import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, Tensor } from '../inference/inference-data.js';
import type { ParametersMessage, RequestMessage } from '../inference/protocol-messages.js';
import type { InferenceRequest } from '../inference/request-response.js';
import type { Model } from './backend.js';

/** The parameter that names a memory region of the server's machine, in place of data (Triton's extension). */
const SHARED_MEMORY = 'shared_memory_region';

/** Throws `unimplemented` for inputs and outputs in shared memory: their data is not in the message. */
export function rejectSharedMemory({ inputs, outputs }: RequestMessage): void {
  for (const { name, parameters } of inputs) refuseRegion('input', name, parameters);
  for (const { name, parameters } of outputs) refuseRegion('output', name, parameters);
}

function refuseRegion(kind: string, name: string, parameters: ParametersMessage): void {
  const region = parameters.get(SHARED_MEMORY);
  if (!region) return;
  const shown = quote(String(region.parameterChoice?.value));
  const message = `${kind} ${quote(name)} is in the shared memory region ${shown}, and shared memory is not served here; send the data in the message`;
  throw new AnyserveError('unimplemented', message);
}

/** Whether a parameter means nothing that a model of texts would do differently without it. */
function isHarmless(name: string, value: Parameters[string] | undefined): boolean {
  // The last two are about HTTP bodies. The first says what the text contract says anyway.
  return (name === 'content_type' && value === 'str') || name === 'binary_data_size' || name === 'binary_data';
}

/** Throws `unimplemented` where a model would ignore a parameter of a single input or output. */
export function checkTensorParameters(model: Model, { inputs, outputParameters = {} }: InferenceRequest): void {
  if (!model.ignoresTensorParameters) return;
  for (const name in inputs) refuseUnknown(model, 'input', name, inputs[name]?.parameters);
  for (const name in outputParameters) refuseUnknown(model, 'output', name, outputParameters[name]);
}

function refuseUnknown(model: Model, kind: string, name: string, parameters: Parameters = {}): void {
  const unknown = Object.keys(parameters).find((parameter) => !isHarmless(parameter, parameters[parameter]));
  if (unknown === undefined) return;
  const value = String(parameters[unknown]);
  const message = `model ${quote(model.name)} does not know parameter ${quote(unknown)} (${value}) of ${kind} ${quote(name)}`;
  throw new AnyserveError('unimplemented', message);
}

/**
 * Throws `unimplemented` when classes were asked for of an output (Triton's `classification`) and its values came. Classes are
 * texts, `VALUE:INDEX:LABEL`; a handler that makes them is one that reads the parameter.
 */
export function checkClassification({ outputParameters = {} }: InferenceRequest, name: string, output: Tensor): void {
  const count = outputParameters[name]?.['classification'];
  if (count === undefined || count === 0 || output.datatype === 'BYTES') return;
  throw new AnyserveError('unimplemented', `output ${quote(name)} is not given as classes; leave "classification" out`);
}
