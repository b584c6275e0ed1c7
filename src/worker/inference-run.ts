import { AnyserveError, getErrorMessage, isAnyserveError, toOwnError } from '../core/errors.js';
import { quote, quoteList } from '../core/quoting.js';
import { concatTensors } from '../inference/concat-tensors.js';
import {
  type HandlerOutputs,
  HandlerResponse,
  type InferenceResponse,
  isHandlerResponse,
  type Tensor,
  type Tensors,
} from '../inference/inference-data.js';
import { mergeParameters } from '../inference/parameters.js';
import type { InferenceRequest } from '../inference/request-response.js';
import { checkAgainstSpec, type TensorSpec } from '../inference/tensor-spec.js';
import { toTensor } from '../inference/tensor-value.js';
import type { InferenceContext, Model } from './backend.js';
import { checkClassification, checkTensorParameters } from './tensor-parameters.js';

/** Triton's request parameter that makes the server mark the last response. */
const ENABLE_FINAL_PARAMETER = 'triton_enable_empty_final_response';

/** Triton's response parameter that tells whether a response is the last one. */
const FINAL_PARAMETER = 'triton_final_response';

/**
 * Runs a model on a request and yields one response per result of its handler. `streaming` tells the handler whether the
 * caller receives each of them. Throws `invalid_argument` for an invalid request, and `internal` with the model's name for
 * an error of the handler. An `AnyserveError` keeps its code.
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
  // Field by field, because spreading an object would take ten times as long in every call.
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
  const producedNames = new Set<string>();
  const marksFinal = streaming && wantsFinalResponse(request);
  try {
    const results = toIterable(await model.handle(request.inputs, context));
    const isSingle = Array.isArray(results);
    for await (const value of results) {
      signal.throwIfAborted();
      const result = isHandlerResponse(value) ? value : new HandlerResponse(value as HandlerOutputs, {});
      const tensors = toOutputs(model, result.outputs);
      for (const name of Object.keys(tensors)) {
        producedNames.add(name);
        checkClassification(request, name, tensors[name] as Tensor);
      }
      const response = {
        model: request.model,
        version,
        id,
        outputs: selectOutputs(tensors, outputs),
        parameters: result.parameters,
      };
      yield marksFinal ? markFinal(response, isSingle) : response;
      signal.throwIfAborted();
    }
    checkOutputs(model, request, producedNames);
    if (marksFinal && !isSingle) yield createEmptyFinalResponse(request);
  } catch (cause) {
    throw signal.aborted ? cause : toModelError(model, cause);
  }
}

function toModelError(model: Model, cause: unknown): AnyserveError {
  if (isAnyserveError(cause)) return toOwnError(cause);
  return new AnyserveError('internal', `model ${quote(model.name)} failed: ${getErrorMessage(cause)}`, { cause });
}

/**
 * Runs a model on a request and returns a single response. Several results are concatenated along the first dimension, and
 * their parameters are merged. Throws as {@link runInference} does.
 */
export async function runUnaryInference(
  model: Model,
  request: InferenceRequest,
  signal: AbortSignal,
): Promise<InferenceResponse> {
  const responses: InferenceResponse[] = [];
  for await (const response of runInference(model, request, signal, false)) responses.push(response);
  const merged = mergeResponses(request, responses);
  return wantsFinalResponse(request) ? markFinal(merged, true) : merged;
}

function mergeResponses(
  { model, version, id }: InferenceRequest,
  responses: readonly InferenceResponse[],
): InferenceResponse {
  const [first] = responses;
  if (first && responses.length === 1) return first;
  const outputs = concatTensors(responses.map((response) => response.outputs));
  return { model, version, id, outputs, parameters: mergeParameters(responses) };
}

function checkInputs(model: Model, { inputs }: InferenceRequest): void {
  if (model.inputs === undefined) return;
  const label = `model ${quote(model.name)}`;
  for (const spec of model.inputs) {
    const tensor = inputs[spec.name];
    if (tensor) checkAgainstSpec(`input ${quote(spec.name)}`, spec, tensor);
    else if (!spec.optional) throw new AnyserveError('invalid_argument', `${label} needs input ${quote(spec.name)}`);
  }
  const unknown = Object.keys(inputs).find((name) => !model.inputs?.some((spec) => spec.name === name));
  if (unknown === undefined) return;
  const known = quoteList(model.inputs.map((spec) => spec.name)) || 'none';
  throw new AnyserveError('invalid_argument', `${label} has no input ${quote(unknown)}; its inputs: ${known}`);
}

/** Returns a generator unchanged, and any other result of a handler in an array. */
function toIterable(result: unknown): AsyncIterable<unknown> | Iterable<unknown> {
  const isGenerator = typeof result === 'object' && result !== null && 'next' in result;
  return isGenerator ? (result as unknown as AsyncIterable<unknown> | Iterable<unknown>) : [result];
}

function toOutputs(model: Model, value: unknown): Tensors {
  if (!isPlainObject(value)) throw new TypeError('its handler must return an object of outputs by name');
  const tensors: Record<string, Tensor> = Object.create(null);
  for (const [name, output] of Object.entries(value)) {
    tensors[name] = toOutput(
      name,
      output,
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

/** Returns the requested outputs in the requested order. Without requested names, returns all. */
function selectOutputs(tensors: Tensors, requested: readonly string[]): Tensors {
  if (requested.length === 0) return tensors;
  const selected: Record<string, Tensor> = Object.create(null);
  for (const name of requested) if (tensors[name]) selected[name] = tensors[name];
  return selected;
}

/** Throws if a requested or declared output is missing from all results of the handler. */
function checkOutputs(model: Model, { outputs }: InferenceRequest, producedNames: ReadonlySet<string>): void {
  const unknown = outputs.find((name) => !producedNames.has(name));
  if (unknown !== undefined) {
    throw new AnyserveError('invalid_argument', `model ${quote(model.name)} returned no output ${quote(unknown)}`);
  }
  const missing = model.outputs?.find(({ name, optional }) => !optional && !producedNames.has(name));
  if (missing) throw new Error(`its handler returned no output ${quote(missing.name)}, which it declares`);
}

/** Converts an output of a handler. An invalid one is the handler's error, not the caller's. */
function toOutput(name: string, value: HandlerOutputs[string], spec: TensorSpec | undefined): Tensor {
  const label = `output ${quote(name)}`;
  try {
    const tensor = toTensor(label, value, { datatype: spec?.datatype });
    if (spec) checkAgainstSpec(label, spec, tensor);
    return tensor;
  } catch (cause) {
    throw new Error(getErrorMessage(cause), { cause });
  }
}

/** Returns whether the caller wants each response to be marked as final or not. */
function wantsFinalResponse({ parameters }: InferenceRequest): boolean {
  return parameters[ENABLE_FINAL_PARAMETER] === true;
}

/** Returns the response with the final marker. */
function markFinal(response: InferenceResponse, isFinal: boolean): InferenceResponse {
  return { ...response, parameters: { ...response.parameters, [FINAL_PARAMETER]: isFinal } };
}

/**
 * Creates the empty response that follows a generator's last result. A result can't be marked as final itself, because it
 * is sent before the generator is known to have finished. Triton also sends an empty response for such models.
 */
function createEmptyFinalResponse({ model, version, id }: InferenceRequest): InferenceResponse {
  return markFinal({ model, version, id, outputs: {}, parameters: {} }, true);
}
