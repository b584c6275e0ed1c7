import type { InputSpecs } from '../../client/declared-model-cache.js';
import { createRequestMessage } from '../../client/infer-messages.js';
import type { ModelRequest } from '../../client/inference-attempts.js';
import { AnyserveError } from '../../core/errors.js';
import { quote, quoteList } from '../../core/quoting.js';
import type { Parameters } from '../../inference/inference-data.js';
import { OPENAI_PLATFORM } from '../../inference/text-contract.js';
import { isJsonObject, type Json, type JsonObject, serializeJson } from '../../json/json-value.js';
import { createTritonInputs, type ModelInputs, TRITON_TEXT_INPUT } from './model-inputs.js';
import { createParameterError, renameTokenLimit, toModelParameters } from './openai-parameters.js';

/** A request for a text: for one model, whatever inputs it declares at a replica. */
export interface TextRequest {
  readonly request: ModelRequest;
  readonly isStream: boolean;
  /** Whether a stream ends with the token counts. */
  readonly includeUsage: boolean;
}

/** Members of `/completions` that the text contract can't carry, with the values that ask for nothing. */
const UNSUPPORTED_COMPLETION_MEMBERS: Readonly<Record<string, readonly Json[]>> = {
  echo: [null, false],
  suffix: [null, ''],
  logprobs: [null, false],
  tools: [null],
};

/** Translates a request of `/chat/completions`. Throws `invalid_argument`, which names what can't be translated. */
export function createChatRequest(model: string, body: JsonObject): TextRequest {
  const messages = body.get('messages') ?? null;
  if (!Array.isArray(messages) || messages.length === 0)
    throw new AnyserveError('invalid_argument', 'input "messages" is not a list of messages');
  return createTextRequest(model, body, (specs, parameters, isStream) => {
    if (specs.size === 0 || specs.has('messages')) return { inputs: { messages: serializeJson(messages) }, parameters };
    return createPromptInputs(getOnlyUserText(messages, model), parameters, { specs, isStream, model });
  });
}

/** Translates a request of `/completions`. Throws `invalid_argument`, which names what can't be translated. */
export function createCompletionRequest(model: string, body: JsonObject): TextRequest {
  for (const [name, harmless] of Object.entries(UNSUPPORTED_COMPLETION_MEMBERS)) {
    const value = body.get(name);
    if (value !== undefined && !harmless.includes(value))
      throw createParameterError(name, 'is not supported for this model; leave it out');
  }
  const prompt = readPrompt(body.get('prompt') ?? null);
  return createTextRequest(model, withoutMembers(body, ['echo', 'suffix', 'logprobs', 'tools']), (specs, ...rest) =>
    createPromptInputs(prompt, rest[0], { specs, isStream: rest[1], model }),
  );
}

type CreateInputs = (specs: InputSpecs, parameters: Parameters, isStream: boolean) => ModelInputs;

function createTextRequest(model: string, body: JsonObject, createInputs: CreateInputs): TextRequest {
  const parameters = toModelParameters(body);
  const isStream = body.get('stream') === true;
  return {
    isStream,
    includeUsage: readIncludeUsage(body.get('stream_options') ?? null),
    request: {
      model,
      version: '',
      needsDeclaration: true,
      create({ platform, inputs: specs }) {
        const named = platform === OPENAI_PLATFORM ? parameters : renameTokenLimit(parameters);
        const created = createInputs(specs, named, isStream);
        return createRequestMessage(model, created.inputs, { parameters: created.parameters }, specs);
      },
    },
  };
}

/** Returns the inputs of a model that takes one text. */
function createPromptInputs(
  prompt: string,
  parameters: Parameters,
  options: { readonly specs: InputSpecs; readonly isStream: boolean; readonly model: string },
): ModelInputs {
  const { specs, model } = options;
  if (specs.has(TRITON_TEXT_INPUT)) return createTritonInputs(prompt, parameters, options);
  if (specs.size === 0 || specs.has('prompt')) return { inputs: { prompt }, parameters };
  const inputs = quoteList([...specs.keys()]);
  throw new AnyserveError('unimplemented', `the model ${quote(model)} takes no text; its inputs: ${inputs}`);
}

/** Returns the text of a chat that is one user message. A model without the input `messages` has no place for roles. */
function getOnlyUserText(messages: readonly Json[], model: string): string {
  const [message] = messages;
  const content =
    message !== undefined && isJsonObject(message) && message.get('role') === 'user' && message.get('content');
  if (messages.length === 1 && typeof content === 'string') return content;
  const problem = `the model ${quote(model)} takes one text`;
  throw new AnyserveError('unimplemented', `input "messages": ${problem}; send one user message with a string`);
}

function readPrompt(prompt: Json): string {
  const text = Array.isArray(prompt) && prompt.length === 1 ? prompt[0] : prompt;
  if (typeof text === 'string') return text;
  throw new AnyserveError(
    'invalid_argument',
    'input "prompt" is not one text; send a request for each prompt, as text',
  );
}

function readIncludeUsage(options: Json): boolean {
  if (options === null) return false;
  if (!isJsonObject(options)) throw createParameterError('stream_options', 'is not an object');
  for (const [name, value] of options)
    if (name !== 'include_usage' && value !== false && value !== null)
      throw createParameterError('stream_options', `has ${quote(name)}, which is not supported for this model`);
  return options.get('include_usage') === true;
}

function withoutMembers(body: JsonObject, names: readonly string[]): JsonObject {
  return new Map([...body].filter(([name]) => !names.includes(name)));
}
