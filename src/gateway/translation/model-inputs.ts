import type { InputSpecs } from '../../client/declared-model-cache.js';
import { AnyserveError } from '../../core/errors.js';
import { quote, quoteList } from '../../core/quoting.js';
import type { Parameters, ParameterValue, TensorValue } from '../../inference/inference-data.js';
import { isNeutralParameter } from '../../inference/neutral-parameters.js';
import { parameterToJson } from '../../inference/parameters.js';
import { parseJson } from '../../json/exact-json.js';
import { type Json, serializeJson } from '../../json/json-value.js';

/** Inputs and parameters of a request to one model. */
export interface ModelInputs {
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly parameters: Parameters;
}

/** The text input of Triton's backends for language models. A model with it takes parameters as inputs. */
export const TRITON_TEXT_INPUT = 'text_input';

/** Input of Triton's vLLM backend with all parameters as JSON. */
const TRITON_PARAMETERS_INPUT = 'sampling_parameters';

/** Names of inputs for parameters, where they differ: those of Triton's TensorRT-LLM backend. */
const TRITON_INPUT_NAMES: Readonly<Record<string, string>> = { seed: 'random_seed', stop: 'stop_words' };

/** Parameters that a model can take in `sampling_parameters`. Others change more than the sampling of the text. */
const SAMPLING_PARAMETERS: ReadonlySet<string> = new Set([
  'temperature',
  'top_p',
  'max_tokens',
  'stop',
  'seed',
  'frequency_penalty',
  'presence_penalty',
]);

/**
 * Adds the parameters to the text input of a Triton model: each as the input that the model declares for it, or all in its
 * `sampling_parameters`. Throws `unimplemented`, which names the parameter, for one that the model has no input for. Triton would
 * ignore it.
 */
export function createTritonInputs(
  text: string,
  parameters: Parameters,
  { isStream, specs, model }: { readonly isStream: boolean; readonly specs: InputSpecs; readonly model: string },
): ModelInputs {
  const inputs: Record<string, TensorValue> = { [TRITON_TEXT_INPUT]: text };
  const sampling = new Map<string, Json>();
  for (const [name, value] of Object.entries(parameters)) {
    const input = [name, TRITON_INPUT_NAMES[name]].find((known) => known !== undefined && specs.has(known));
    if (input !== undefined) inputs[input] = toInputValue(name, value);
    else if (specs.has(TRITON_PARAMETERS_INPUT) && SAMPLING_PARAMETERS.has(name))
      sampling.set(name, toJson(name, value));
    else if (!isNeutralParameter(name, value)) throw createUnknownParameterError(name, model, specs);
  }
  if (sampling.size > 0) inputs[TRITON_PARAMETERS_INPUT] = serializeJson(sampling);
  if (specs.has('stream')) inputs['stream'] = isStream;
  // By default, the vLLM backend repeats the prompt before a text that isn't streamed.
  if (specs.has('exclude_input_in_output')) inputs['exclude_input_in_output'] = true;
  return { inputs, parameters: {} };
}

function createUnknownParameterError(name: string, model: string, specs: InputSpecs): AnyserveError {
  const inputs = quoteList([...specs.keys()]);
  return new AnyserveError(
    'unimplemented',
    `parameter ${quote(name)} is not supported by the model ${quote(model)}; its inputs: ${inputs}`,
  );
}

function toInputValue(name: string, value: ParameterValue): TensorValue {
  return toJson(name, value) as TensorValue;
}

/** Returns a parameter as JSON. Stop sequences are always a list. */
function toJson(name: string, value: ParameterValue): Json {
  if (name !== 'stop' || typeof value !== 'string') return parameterToJson(value);
  return value.trimStart().startsWith('[') ? parseJson(value) : [value];
}
