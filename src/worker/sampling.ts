import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, ParameterValue } from '../inference/inference-data.js';
import { hasNeutralValue, isNeutralParameter } from '../inference/neutral-parameters.js';

/** Sampling settings of a request. The model chooses a value for each setting that is missing. */
export interface Sampling {
  readonly temperature?: number;
  readonly topP?: number;
  readonly maxTokens?: number;
  readonly seed?: number;
  /** Stop sequences. They end the generated text and are not part of it. */
  readonly stop: readonly string[];
}

/** Maximum seed. Random generators take 32 bits. */
const MAX_SEED = 2 ** 32 - 1;

/** Maximum number of stop sequences, because each is searched for in every piece of the generated text. */
const MAX_STOP_SEQUENCES = 64;

/** Parameter that a grammar enforces, and not the sampling alone. */
const RESPONSE_FORMAT = 'response_format';

const SAMPLING_PARAMETERS = [
  'temperature',
  'top_p',
  'max_tokens',
  'max_completion_tokens',
  'seed',
  'stop',
  RESPONSE_FORMAT,
];

/**
 * Parses `temperature`, `top_p`, `max_tokens` or its newer name `max_completion_tokens`, `seed` and `stop` (a string, or a
 * JSON array of strings as a string). Throws `invalid_argument` with the parameter's name, and `unimplemented` for a
 * parameter that another replica might support.
 */
export function parseSampling(parameters: Parameters): Sampling {
  checkParameterNames(parameters, SAMPLING_PARAMETERS);
  const { temperature, top_p: topP, seed, stop } = parameters;
  const maxTokensOldName = parseTokenLimit('max_tokens', parameters);
  const maxTokens = parseTokenLimit('max_completion_tokens', parameters) ?? maxTokensOldName;
  return {
    ...(temperature !== undefined && {
      temperature: parseNumber('temperature', temperature, (value) => value >= 0, 'a number of at least 0'),
    }),
    ...(topP !== undefined && {
      topP: parseNumber('top_p', topP, (value) => value > 0 && value <= 1, 'a number greater than 0 and at most 1'),
    }),
    ...(maxTokens !== undefined && { maxTokens }),
    ...(seed !== undefined && {
      seed: parseNumber(
        'seed',
        seed,
        (value) => isInteger(value) && value >= 0 && value <= MAX_SEED,
        `an integer from 0 to ${MAX_SEED}`,
      ),
    }),
    stop: stop === undefined ? [] : parseStopSequences(stop),
  };
}

function parseTokenLimit(name: string, { [name]: value }: Parameters): number | undefined {
  if (value === undefined) return undefined;
  return parseNumber(name, value, (limit) => isInteger(limit) && limit >= 1, 'an integer of at least 1');
}

/**
 * Rejects parameters that would be ignored silently. Accepts those whose value has no effect, and those of Triton's
 * clients (`triton_...`). Throws `unimplemented`, because another replica might support the parameter.
 */
export function checkParameterNames(parameters: Parameters, known: readonly string[]): void {
  const unknown = Object.entries(parameters).find(
    ([name, value]) => !known.includes(name) && !name.startsWith('triton_') && !isNeutralParameter(name, value),
  );
  if (unknown === undefined) return;
  const [name, value] = unknown;
  const problem = hasNeutralValue(name)
    ? `is ${formatValue(value)}, which this model doesn't support`
    : 'is not supported by this model';
  const supported = known.join(', ') || 'none';
  throw new AnyserveError('unimplemented', `parameter ${quote(name)} ${problem}; supported: ${supported}`);
}

const isInteger = Number.isSafeInteger;

function parseNumber(
  name: string,
  value: ParameterValue,
  isValid: (value: number) => boolean,
  expected: string,
): number {
  if (typeof value === 'number' && Number.isFinite(value) && isValid(value)) return value;
  throw createParameterError(name, `is ${formatValue(value)}; it must be ${expected}`);
}

function parseStopSequences(value: ParameterValue): readonly string[] {
  const texts = typeof value === 'string' ? (parseTextArray(value) ?? [value]) : [];
  if (texts.length > MAX_STOP_SEQUENCES) {
    throw createParameterError('stop', `has ${texts.length} texts; the maximum is ${MAX_STOP_SEQUENCES}`);
  }
  if (texts.length > 0 && texts.every((text) => text !== '')) return texts;
  throw createParameterError(
    'stop',
    `is ${formatValue(value)}; it must be a non-empty string or a JSON array of non-empty strings`,
  );
}

/** Returns the elements of a JSON array of strings, or undefined for any other string, which is itself a stop sequence. */
function parseTextArray(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) && list.every((item) => typeof item === 'string') ? list : undefined;
  } catch {
    return undefined;
  }
}

function formatValue(value: ParameterValue): string {
  if (typeof value === 'bigint') return String(value);
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function createParameterError(name: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `parameter ${quote(name)} ${problem}`);
}
