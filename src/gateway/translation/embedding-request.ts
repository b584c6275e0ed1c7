import type { InputSpecs } from '../../client/declared-model-cache.js';
import { createRequestMessage } from '../../client/infer-messages.js';
import type { ModelRequest } from '../../client/inference-attempts.js';
import { AnyserveError } from '../../core/errors.js';
import { quote, quoteList } from '../../core/quoting.js';
import type { Json, JsonObject } from '../../json/json-value.js';
import { createParameterError, toModelParameters } from './openai-parameters.js';

/** A request for embeddings. */
export interface EmbeddingRequest {
  readonly request: ModelRequest;
  readonly count: number;
  /** Whether vectors are returned as base64 of their little-endian FP32 numbers, which OpenAI's clients ask for. */
  readonly isBase64: boolean;
}

/** Names of the input with the texts: that of the text contract, and common ones of Triton models. */
const TEXT_INPUTS = ['input', 'text_input', 'text', 'TEXT'];

/** Translates a request of `/embeddings`. Throws `invalid_argument`, which names what can't be translated. */
export function createEmbeddingRequest(model: string, body: JsonObject): EmbeddingRequest {
  const texts = readTexts(body.get('input') ?? null);
  const encoding = body.get('encoding_format') ?? 'float';
  if (encoding !== 'float' && encoding !== 'base64')
    throw createParameterError('encoding_format', 'must be "float" or "base64"');
  const parameters = toModelParameters(new Map([...body].filter(([name]) => name !== 'encoding_format')));
  return {
    count: texts.length,
    isBase64: encoding === 'base64',
    request: {
      model,
      version: '',
      needsDeclaration: true,
      create: ({ inputs }) =>
        createRequestMessage(model, { [findTextInput(model, inputs)]: texts }, { parameters }, inputs),
    },
  };
}

function readTexts(input: Json): readonly string[] {
  const texts = Array.isArray(input) ? input : [input];
  if (texts.length > 0 && texts.every((text) => typeof text === 'string')) return texts;
  throw new AnyserveError(
    'invalid_argument',
    'input "input" must be a text or a list of texts; tokens are not supported',
  );
}

function findTextInput(model: string, specs: InputSpecs): string {
  if (specs.size === 0) return 'input';
  const found = TEXT_INPUTS.find((name) => specs.get(name)?.datatype === 'BYTES');
  if (found !== undefined) return found;
  const inputs = quoteList([...specs.keys()]);
  throw new AnyserveError('unimplemented', `the model ${quote(model)} takes no texts; its inputs: ${inputs}`);
}
