import type { LlamaGrammar, LlamaGrammarEvaluationState, LlamaModel } from 'node-llama-cpp';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import { quote } from '../core/quoting.js';
import type { Parameters } from '../inference/inference-data.js';
import type { LlamaCpp } from './llama-cpp.js';
import { toGrammarSchema, UnsupportedSchemaError } from './llama-json-schema.js';

/** Maximum number of grammars that are kept. */
const MAX_GRAMMARS = 32;

/** Maximum length of a response format, in characters. */
const MAX_FORMAT_CHARACTERS = 64 * 1024;

/** Schema of the format `json_object`. */
const ANY_OBJECT = { type: 'object' };

/**
 * End of the grammars that node-llama-cpp makes: four line feeds. They stop models that don't end their text. Without them, the only
 * token that can follow the JSON is the end of the text.
 */
const LINE_FEEDS = ' "\\n\\n\\n\\n" [\\n]*';

/** Makes the grammars of response formats. A grammar restricts the tokens that can follow, so the text is always in the format. */
export class LlamaResponseFormats {
  readonly #llamaCpp: Pick<LlamaCpp, 'LlamaGrammarEvaluationState'>;
  readonly #model: LlamaModel;
  readonly #grammars = new GenerationalCache<string, Promise<LlamaGrammar>>(MAX_GRAMMARS);

  constructor(llamaCpp: Pick<LlamaCpp, 'LlamaGrammarEvaluationState'>, model: LlamaModel) {
    this.#llamaCpp = llamaCpp;
    this.#model = model;
  }

  /**
   * Starts the grammar of the parameter `response_format`; undefined for text. Throws `invalid_argument` for a format that is wrong, and
   * `unimplemented` for one that another replica might support.
   */
  async start({ response_format: format }: Parameters): Promise<LlamaGrammarEvaluationState | undefined> {
    const schema = format === undefined ? undefined : readSchema(format);
    if (schema === undefined) return undefined;
    const key = JSON.stringify(schema);
    let grammar = this.#grammars.get(key);
    if (!grammar) {
      grammar = this.#createGrammar(schema);
      this.#grammars.set(key, grammar);
    }
    return new this.#llamaCpp.LlamaGrammarEvaluationState({ model: this.#model, grammar: await grammar });
  }

  async #createGrammar(schema: unknown): Promise<LlamaGrammar> {
    const { llama } = this.#model;
    try {
      const { grammar } = await llama.createGrammarForJsonSchema(toGrammarSchema(schema));
      return await llama.createGrammar({ grammar: grammar.replace(LINE_FEEDS, '') });
    } catch (error) {
      const isSchema = error instanceof UnsupportedSchemaError;
      const problem = isSchema ? `, which this model doesn't support: ${error.message}` : `: ${getErrorMessage(error)}`;
      throw createFormatError('unimplemented', `has a schema${isSchema ? '' : ' without a grammar'}${problem}`);
    }
  }
}

/** Returns the schema of a response format; undefined for text. */
function readSchema(format: unknown): unknown {
  if (typeof format !== 'string' || format.length > MAX_FORMAT_CHARACTERS)
    throw createFormatError('invalid_argument', `is not JSON of at most ${MAX_FORMAT_CHARACTERS} characters`);
  const parsed = parseFormat(format);
  if (parsed.type === 'text') return undefined;
  if (parsed.type === 'json_object') return ANY_OBJECT;
  if (parsed.type !== 'json_schema')
    throw createFormatError(
      'unimplemented',
      `has the type ${quote(String(parsed.type))}; supported: text, json_object, json_schema`,
    );
  const { schema } = parsed.json_schema ?? {};
  if (schema === undefined) throw createFormatError('invalid_argument', 'has no "json_schema" with a "schema"');
  return schema;
}

interface ResponseFormat {
  readonly type?: unknown;
  readonly json_schema?: { readonly schema?: unknown };
}

function parseFormat(format: string): ResponseFormat {
  try {
    const parsed: unknown = JSON.parse(format);
    if (typeof parsed === 'object' && parsed !== null) return parsed;
  } catch {}
  throw createFormatError('invalid_argument', 'is not a JSON object such as {"type":"json_object"}');
}

function createFormatError(code: 'invalid_argument' | 'unimplemented', problem: string): AnyserveError {
  return new AnyserveError(code, `parameter "response_format" ${problem}`);
}
