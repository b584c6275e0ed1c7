import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote, quoteList } from '../core/quoting.js';
import { concatTensors } from '../inference/concat-tensors.js';
import { type HandlerOutputs, HandlerResponse } from '../inference/handler-result.js';
import type { InferenceResponse, Tensor, Tensors } from '../inference/inference-data.js';
import { mergeParameters } from '../inference/parameters.js';
import type { InferenceRequest } from '../inference/request-response.js';
import { checkAgainstSpec, type TensorSpec } from '../inference/tensor-spec.js';
import { toTensor } from '../inference/tensor-value.js';
import type { InferenceContext, Model } from './backend.js';
import { checkClassification, checkTensorParameters } from './tensor-parameters.js';

/** Triton's parameter names: the request asks to mark the last response, and the response carries the mark. */
const WANTED = 'triton_enable_empty_final_response';
const IS_FINAL = 'triton_final_response';

/**
 * Has a model answer a request, in as many parts as its handler gives, to a caller that takes them in parts
 * (`streaming`) or not. What the request does not get right is
 * `invalid_argument`, what the handler throws is `internal` and names the model; an `AnyserveError` keeps its code.
 */
export async function* runInference(
  model: Model,
  request: InferenceRequest,
  signal: AbortSignal,
  streaming: boolean,
): AsyncGenerator<InferenceResponse> {
  checkInputs(model, request);
  checkTensorParameters(model, request);
  const { version, id, parameters, outputs, outputParameters = {} } = request;
  // Name by name: spreading an object costs ten times as much as that, for every call.
  const context: InferenceContext = {
    model: request.model,
    version,
    id,
    parameters,
    outputs,
    outputParameters,
    streaming,
    signal,
  };
  const given = new Set<string>();
  const saysFinal = streaming && wantsFinalResponse(request);
  try {
    const parts = partsOf(await model.handle(request.inputs, context));
    const isWhole = Array.isArray(parts);
    for await (const part of parts) {
      signal.throwIfAborted();
      const answer = part instanceof HandlerResponse ? part : new HandlerResponse(part as HandlerOutputs, {});
      const tensors = outputsFrom(model, answer.outputs);
      for (const name of Object.keys(tensors)) {
        given.add(name);
        checkClassification(request, name, tensors[name] as Tensor);
      }
      const told = {
        model: request.model,
        version,
        id,
        outputs: chosen(tensors, outputs),
        parameters: answer.parameters,
      };
      yield saysFinal ? withFinal(told, isWhole) : told;
      signal.throwIfAborted();
    }
    checkOutputs(model, request, given);
    if (saysFinal && !isWhole) yield emptyFinal(request);
  } catch (cause) {
    if (cause instanceof AnyserveError || signal.aborted) throw cause;
    throw new AnyserveError('internal', `model ${quote(model.name)} failed: ${getErrorMessage(cause)}`, { cause });
  }
}

/** The same, for a call that takes one answer: parts are joined along their first dimension, and so are parameters. */
export async function runUnaryInference(
  model: Model,
  request: InferenceRequest,
  signal: AbortSignal,
): Promise<InferenceResponse> {
  const parts: InferenceResponse[] = [];
  for await (const part of runInference(model, request, signal, false)) parts.push(part);
  const whole = joinedParts(request, parts);
  return wantsFinalResponse(request) ? withFinal(whole, true) : whole;
}

function joinedParts({ model, version, id }: InferenceRequest, parts: readonly InferenceResponse[]): InferenceResponse {
  const [first] = parts;
  if (first && parts.length === 1) return first;
  const outputs = concatTensors(parts.map((part) => part.outputs));
  return { model, version, id, outputs, parameters: mergeParameters(parts) };
}

function checkInputs(model: Model, { inputs }: InferenceRequest): void {
  if (model.inputs === undefined) return;
  const shownModel = `model ${quote(model.name)}`;
  for (const spec of model.inputs) {
    const tensor = inputs[spec.name];
    if (tensor) checkAgainstSpec(`input ${quote(spec.name)}`, spec, tensor);
    else if (!spec.optional)
      throw new AnyserveError('invalid_argument', `${shownModel} needs input ${quote(spec.name)}`);
  }
  const stray = Object.keys(inputs).find((name) => !model.inputs?.some((spec) => spec.name === name));
  if (stray === undefined) return;
  const there = quoteList(model.inputs.map((spec) => spec.name)) || 'none';
  throw new AnyserveError('invalid_argument', `${shownModel} has no input ${quote(stray)}; its inputs: ${there}`);
}

/** The parts of what a handler gave: those of a generator, or the one that it is. */
function partsOf(given: unknown): AsyncIterable<unknown> | Iterable<unknown> {
  const isGenerator = typeof given === 'object' && given !== null && 'next' in given;
  return isGenerator ? (given as unknown as AsyncIterable<unknown> | Iterable<unknown>) : [given];
}

function outputsFrom(model: Model, part: unknown): Tensors {
  if (!isPlainObject(part)) throw new TypeError('its handler gave no object of outputs by name');
  const tensors: Record<string, Tensor> = Object.create(null);
  for (const [name, value] of Object.entries(part)) {
    tensors[name] = outputFrom(
      name,
      value,
      model.outputs?.find((spec) => spec.name === name),
    );
  }
  return tensors;
}

function isPlainObject(value: unknown): value is HandlerOutputs {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** The outputs wanted, in the order they are wanted in; none named: all. */
function chosen(tensors: Tensors, wanted: readonly string[]): Tensors {
  if (wanted.length === 0) return tensors;
  const named: Record<string, Tensor> = Object.create(null);
  for (const name of wanted) if (tensors[name]) named[name] = tensors[name];
  return named;
}

/** Whether everything that was asked for and everything that was declared has come, in whichever part. */
function checkOutputs(model: Model, { outputs }: InferenceRequest, given: ReadonlySet<string>): void {
  const shownModel = `model ${quote(model.name)}`;
  const unknown = outputs.find((name) => !given.has(name));
  if (unknown !== undefined) {
    throw new AnyserveError('invalid_argument', `${shownModel} gave no output ${quote(unknown)}`);
  }
  const missing = model.outputs?.find(({ name, optional }) => !optional && !given.has(name));
  if (missing) throw new Error(`its handler gave no output ${quote(missing.name)}, which it declares`);
}

/** A handler's output; one that does not hold is the handler's failure, not the caller's. */
function outputFrom(name: string, value: HandlerOutputs[string], spec: TensorSpec | undefined): Tensor {
  const label = `output ${quote(name)}`;
  try {
    const tensor = toTensor(label, value, { datatype: spec?.datatype });
    if (spec) checkAgainstSpec(label, spec, tensor);
    return tensor;
  } catch (cause) {
    throw new Error(getErrorMessage(cause), { cause });
  }
}

/** Whether the caller wants each response to say whether it is the last. */
function wantsFinalResponse({ parameters }: InferenceRequest): boolean {
  return parameters[WANTED] === true;
}

/** The answer, which says whether it is the last. */
function withFinal(answer: InferenceResponse, isFinal: boolean): InferenceResponse {
  return { ...answer, parameters: { ...answer.parameters, [IS_FINAL]: isFinal } };
}

/**
 * The response after the last part. Whether another part comes is not known before it does, and no part waits for it: Triton
 * sends an empty response, too, for models that answer in parts.
 */
function emptyFinal({ model, version, id }: InferenceRequest): InferenceResponse {
  return withFinal({ model, version, id, outputs: {}, parameters: {} }, true);
}
