import { AnyserveError } from '../core/errors.js';
import type { Parameters, ParameterValue } from '../inference/inference-data.js';
import { parseDecimal, parseJsonArgument, parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';
import { parseRestParameter } from './rest-request.js';

/** Options for request parameters: those of text generation, and any other by name. */
export const PARAMETER_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'max-tokens': { type: 'text', value: 'N', description: 'maximum number of tokens to generate' },
  temperature: { type: 'text', value: 'X', description: 'sampling temperature; 0: always the most likely token' },
  'top-p': {
    type: 'text',
    value: 'X',
    description: 'nucleus sampling: choose among the most likely tokens with this total probability',
  },
  seed: {
    type: 'text',
    value: 'N',
    description: 'random seed; the same seed and request give the same text, if the model supports it',
  },
  stop: { type: 'text', value: 'TEXT', description: 'stop sequence', repeatable: true },
  param: { type: 'text', value: 'NAME=VALUE', description: 'another request parameter', repeatable: true },
};

/** A chat message. */
export interface TextMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** Option for the system message. */
export const SYSTEM_OPTION: CommandOption = {
  type: 'text',
  value: 'TEXT',
  description: 'system message for the model',
};

/** Returns the first messages of a chat: the message of {@link SYSTEM_OPTION}, or none. */
export function createOpeningMessages(args: Arguments): readonly TextMessage[] {
  const system = args.getText('system');
  return system === undefined ? [] : [{ role: 'system', content: system }];
}

/** An option that sets a request parameter. */
interface ParameterOption {
  readonly option: string;
  /** Name of the parameter in the request. */
  readonly name: string;
  parse(texts: readonly [string, ...string[]]): ParameterValue;
}

const GENERATION_PARAMETERS: readonly ParameterOption[] = [
  {
    option: 'max-tokens',
    name: 'max_tokens',
    parse: ([text]) => parseWholeNumber('max-tokens', text, 1, Number.MAX_SAFE_INTEGER),
  },
  { option: 'temperature', name: 'temperature', parse: ([text]) => ({ double: parseDecimal('temperature', text) }) },
  { option: 'top-p', name: 'top_p', parse: ([text]) => ({ double: parseDecimal('top-p', text) }) },
  { option: 'seed', name: 'seed', parse: ([text]) => parseWholeNumber('seed', text, 0, Number.MAX_SAFE_INTEGER) },
  { option: 'stop', name: 'stop', parse: formatStopParameter },
];

/** Returns one stop sequence as is, several as a JSON array. One that begins with `[` also becomes an array. */
function formatStopParameter(texts: readonly [string, ...string[]]): string {
  return texts.length > 1 || texts[0].trimStart().startsWith('[') ? JSON.stringify(texts) : texts[0];
}

/** Reads the parameter options and adds them to `base`. Throws `usage`, including for a parameter that is given twice. */
export function readRequestParameters(args: Arguments, base: Parameters = {}): Parameters {
  const parameters: Record<string, ParameterValue> = Object.assign(Object.create(null), base);
  for (const argument of args.getTexts('param')) {
    const [name, value] = parseParameterArgument(argument);
    if (name in parameters) throw new AnyserveError('usage', `--param ${name} is given twice; give it once`);
    parameters[name] = value;
  }
  for (const { option, name, parse } of GENERATION_PARAMETERS) {
    const [text, ...rest] = args.getTexts(option);
    if (text === undefined) continue;
    if (name in parameters)
      throw new AnyserveError('usage', `parameter ${name} is given twice: --${option} also sets it`);
    parameters[name] = parse([text, ...rest]);
  }
  return parameters;
}

function parseParameterArgument(argument: string): readonly [name: string, value: ParameterValue] {
  const separator = argument.indexOf('=');
  if (separator < 1) throw new AnyserveError('usage', `--param ${JSON.stringify(argument)}: expected NAME=VALUE`);
  const name = argument.slice(0, separator);
  const text = argument.slice(separator + 1);
  const isScalar = /^(?:true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|".*")$/s.test(text);
  return [name, isScalar ? parseRestParameter(name, parseJsonArgument(`--param ${argument}`, text)) : text];
}
