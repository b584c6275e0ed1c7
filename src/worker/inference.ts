import { AnyserveError, messageOf } from '../core/errors.js';
import type { InferenceAnswer, InferenceRequest, Tensors } from '../wire/inference.js';
import { joinedTensors } from '../wire/joined-tensors.js';
import type { Tensor } from '../wire/tensor.js';
import { checkSpec, type TensorSpec } from '../wire/tensor-spec.js';
import { tensorFromValue } from '../wire/tensor-value.js';
import type { HandlerOutputs, InferenceContext, Model } from './backend.js';

/**
 * Has a model answer a request, in as many parts as its handler gives. What the request does not get right is
 * `invalid_argument`, what the handler throws is `internal` and names the model; an `AnyserveError` keeps its code.
 */
export async function* runInference(
  model: Model,
  request: InferenceRequest,
  signal: AbortSignal,
): AsyncGenerator<InferenceAnswer> {
  checkInputs(model, request);
  const { version, id, parameters, outputs } = request;
  const context: InferenceContext = { model: request.model, version, id, parameters, outputs, signal };
  try {
    const given = await model.handle(request.inputs, context);
    const parts = isAsyncIterable(given) ? given : [given];
    for await (const part of parts) {
      yield { model: request.model, version, id, outputs: outputsFrom(model, request, part), parameters: {} };
    }
  } catch (cause) {
    if (cause instanceof AnyserveError || signal.aborted) throw cause;
    throw new AnyserveError('internal', `model ${JSON.stringify(model.name)} failed: ${messageOf(cause)}`, { cause });
  }
}

/** The same, for a call that takes one answer: parts are joined along their first dimension. */
export async function runWholeInference(
  model: Model,
  request: InferenceRequest,
  signal: AbortSignal,
): Promise<InferenceAnswer> {
  const parts: InferenceAnswer[] = [];
  for await (const part of runInference(model, request, signal)) parts.push(part);
  const [first] = parts;
  if (first && parts.length === 1) return first;
  const { model: name, version, id } = request;
  const outputs = joinedTensors(parts.map((part) => part.outputs));
  return { model: name, version, id, outputs, parameters: {} };
}

function checkInputs(model: Model, { inputs }: InferenceRequest): void {
  if (model.inputs === undefined) return;
  const shownModel = `model ${JSON.stringify(model.name)}`;
  for (const spec of model.inputs) {
    const tensor = inputs[spec.name];
    if (tensor) checkSpec(`input ${JSON.stringify(spec.name)}`, spec, tensor);
    else if (!spec.optional)
      throw new AnyserveError('invalid_argument', `${shownModel} needs input ${JSON.stringify(spec.name)}`);
  }
  const stray = Object.keys(inputs).find((name) => !model.inputs?.some((spec) => spec.name === name));
  if (stray === undefined) return;
  const there = model.inputs.map((spec) => JSON.stringify(spec.name)).join(', ') || 'none';
  throw new AnyserveError(
    'invalid_argument',
    `${shownModel} has no input ${JSON.stringify(stray)}; its inputs: ${there}`,
  );
}

function outputsFrom(model: Model, request: InferenceRequest, given: HandlerOutputs): Tensors {
  if (typeof given !== 'object' || given === null) throw new TypeError('its handler gave no outputs by name');
  const tensors: Record<string, Tensor> = Object.create(null);
  for (const [name, value] of Object.entries(given)) {
    tensors[name] = outputFrom(
      name,
      value,
      model.outputs?.find((spec) => spec.name === name),
    );
  }
  if (request.outputs.length === 0) return tensors;
  const wanted: Record<string, Tensor> = Object.create(null);
  for (const name of request.outputs) {
    const tensor = tensors[name];
    if (!tensor)
      throw new AnyserveError(
        'invalid_argument',
        `model ${JSON.stringify(model.name)} gave no output ${JSON.stringify(name)}`,
      );
    wanted[name] = tensor;
  }
  return wanted;
}

/** A handler's output; one that does not hold is the handler's failure, not the caller's. */
function outputFrom(name: string, value: HandlerOutputs[string], spec: TensorSpec | undefined): Tensor {
  const label = `output ${JSON.stringify(name)}`;
  try {
    const tensor = tensorFromValue(label, value, { datatype: spec?.datatype });
    if (spec) checkSpec(label, spec, tensor);
    return tensor;
  } catch (cause) {
    throw new Error(messageOf(cause), { cause });
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<HandlerOutputs> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
