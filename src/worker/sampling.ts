import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, ParameterValue } from '../inference/inference-data.js';

/** How a text is to be written, as a request's parameters say; what they leave out is for the model to choose. */
export interface Sampling {
  readonly temperature?: number;
  readonly topP?: number;
  readonly maxTokens?: number;
  readonly seed?: number;
  /** Texts that end the answer, and are no part of it. */
  readonly stop: readonly string[];
}

/** The largest seed: generators take 32 bits. */
const MAX_SEED = 2 ** 32 - 1;

/** Maximum number of stop texts: each is searched for in every piece of the answer. */
const MAX_STOP_TEXTS = 64;

const KNOWN = ['temperature', 'top_p', 'max_tokens', 'max_completion_tokens', 'seed', 'stop'];

/** Parameters that many clients send, and the values of them that change nothing in the answer. */
const NEUTRAL: Readonly<Record<string, (value: ParameterValue) => boolean>> = {
  // For the records of who runs the model, and for its caches.
  user: () => true,
  safety_identifier: () => true,
  prompt_cache_key: () => true,
  n: (value) => value === 1,
  best_of: (value) => value === 1,
  frequency_penalty: (value) => value === 0,
  presence_penalty: (value) => value === 0,
  logit_bias: (value) => compactJson(value) === '{}',
  logprobs: (value) => value === false,
  top_logprobs: (value) => value === 0,
  response_format: (value) => compactJson(value) === '{"type":"text"}',
  tools: (value) => compactJson(value) === '[]',
  // Without tools these choose nothing.
  tool_choice: (value) => value === 'none' || value === 'auto',
  parallel_tool_calls: (value) => typeof value === 'boolean',
};

/**
 * Reads `temperature`, `top_p`, `max_tokens` or its newer name `max_completion_tokens`, `seed` and `stop` (a text, or a
 * JSON array of texts as a text). Throws `invalid_argument` that names the parameter, and `unimplemented` for one that
 * another replica may know.
 */
export function parseSampling(parameters: Parameters): Sampling {
  checkParameterNames(parameters, KNOWN);
  const { temperature, top_p: topP, seed, stop } = parameters;
  const [older, newer] = [tokenLimit('max_tokens', parameters), tokenLimit('max_completion_tokens', parameters)];
  const maxTokens = newer ?? older;
  return {
    ...(temperature !== undefined && {
      temperature: number('temperature', temperature, (value) => value >= 0, 'a number from 0 on'),
    }),
    ...(topP !== undefined && {
      topP: number('top_p', topP, (value) => value > 0 && value <= 1, 'a number over 0 and up to 1'),
    }),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(seed !== undefined && {
      seed: number(
        'seed',
        seed,
        (value) => isWhole(value) && value >= 0 && value <= MAX_SEED,
        `a whole number from 0 to ${MAX_SEED}`,
      ),
    }),
    stop: stop === undefined ? [] : stopTexts(stop),
  };
}

function tokenLimit(name: string, { [name]: given }: Parameters): number | undefined {
  if (given === undefined) return undefined;
  return number(name, given, (value) => isWhole(value) && value >= 1, 'a whole number from 1 on');
}

/**
 * Refuses parameters that would otherwise silently change nothing. Those that ask for nothing, and what clients of
 * Triton send (`triton_...`), are accepted. Throws `unimplemented`, because another replica may know the parameter.
 */
export function checkParameterNames(parameters: Parameters, known: readonly string[]): void {
  const stray = Object.entries(parameters).find(([name, value]) => {
    const isNeutral = Object.hasOwn(NEUTRAL, name) && NEUTRAL[name]?.(value);
    return !known.includes(name) && !name.startsWith('triton_') && !isNeutral;
  });
  if (stray === undefined) return;
  const [name, value] = stray;
  const problem = Object.hasOwn(NEUTRAL, name) ? `is ${shown(value)}, which this model can't do` : 'is not known';
  const text = `parameter ${quote(name)} ${problem}; known are ${known.join(', ') || 'none'}`;
  throw new AnyserveError('unimplemented', text);
}

/** JSON without the white space between its tokens; undefined for what is no JSON. */
function compactJson(value: ParameterValue): string | undefined {
  try {
    return typeof value === 'string' ? JSON.stringify(JSON.parse(value)) : undefined;
  } catch {
    return undefined;
  }
}

const isWhole = Number.isSafeInteger;

function number(name: string, given: ParameterValue, fits: (value: number) => boolean, wanted: string): number {
  if (typeof given === 'number' && Number.isFinite(given) && fits(given)) return given;
  throw invalid(name, `is ${shown(given)}; give ${wanted}`);
}

function stopTexts(given: ParameterValue): readonly string[] {
  const texts = typeof given === 'string' ? (listFrom(given) ?? [given]) : [];
  if (texts.length > MAX_STOP_TEXTS) {
    throw invalid('stop', `has ${texts.length} texts; give at most ${MAX_STOP_TEXTS}`);
  }
  if (texts.length > 0 && texts.every((text) => text !== '')) return texts;
  throw invalid('stop', `is ${shown(given)}; give a text, or a JSON array of texts, none of them empty`);
}

/** The texts of a JSON array of texts; undefined for any other text, which stands for itself. */
function listFrom(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) && list.every((item) => typeof item === 'string') ? list : undefined;
  } catch {
    return undefined;
  }
}

function shown(value: ParameterValue): string {
  if (typeof value === 'bigint') return String(value);
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function invalid(name: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `parameter ${quote(name)} ${problem}`);
}
