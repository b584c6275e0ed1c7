import { AnyserveError } from '../core/errors.js';
import type { Parameters, ParameterValue } from '../inference/inference-data.js';
import { parseDecimal, parseJsonArgument, parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';
import { parseRestParameter } from './rest-request.js';

/** The options that become parameters of the request: any by its name, and those of a model that writes texts. */
export const PARAMETER_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'max-tokens': { type: 'text', value: 'N', description: 'the most tokens that a text may have' },
  temperature: { type: 'text', value: 'X', description: 'how freely a text is written; 0: always the likeliest' },
  'top-p': {
    type: 'text',
    value: 'X',
    description: 'choose among the likeliest tokens that together have this chance',
  },
  seed: { type: 'text', value: 'N', description: 'the same seed and request, the same text, where the model can' },
  stop: { type: 'text', value: 'TEXT', description: 'a text at which to stop', repeatable: true },
  param: { type: 'text', value: 'NAME=VALUE', description: 'any other request parameter', repeatable: true },
};

/** One message of a chat. */
export interface TextMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** The option for the system message. */
export const SYSTEM_OPTION: CommandOption = {
  type: 'text',
  value: 'TEXT',
  description: 'what the model is told first, such as how to answer',
};

/** Returns the messages that a chat begins with: that of {@link SYSTEM_OPTION}, or none. */
export function createOpeningMessages(args: Arguments): readonly TextMessage[] {
  const system = args.text('system');
  return system === undefined ? [] : [{ role: 'system', content: system }];
}

interface Setting {
  readonly option: string;
  /** What it is called in the request. */
  readonly name: string;
  value(texts: readonly [string, ...string[]]): ParameterValue;
}

const SETTINGS: readonly Setting[] = [
  {
    option: 'max-tokens',
    name: 'max_tokens',
    value: ([text]) => parseWholeNumber('max-tokens', text, 1, Number.MAX_SAFE_INTEGER),
  },
  { option: 'temperature', name: 'temperature', value: ([text]) => ({ double: parseDecimal('temperature', text) }) },
  { option: 'top-p', name: 'top_p', value: ([text]) => ({ double: parseDecimal('top-p', text) }) },
  { option: 'seed', name: 'seed', value: ([text]) => parseWholeNumber('seed', text, 0, Number.MAX_SAFE_INTEGER) },
  { option: 'stop', name: 'stop', value: stopTexts },
];

/** One text as it is, several as a JSON array; so is one that would itself be taken for an array: `["a"]`. */
function stopTexts(texts: readonly [string, ...string[]]): string {
  return texts.length > 1 || texts[0].trimStart().startsWith('[') ? JSON.stringify(texts) : texts[0];
}

/** Reads the options, beside the parameters given already. Throws `usage`, also for what is given twice. */
export function readRequestParameters(args: Arguments, given: Parameters = {}): Parameters {
  const parameters: Record<string, ParameterValue> = Object.assign(Object.create(null), given);
  for (const argument of args.texts('param')) {
    const [name, value] = parameterFromArgument(argument);
    if (name in parameters) throw new AnyserveError('usage', `--param ${name} is given twice`);
    parameters[name] = value;
  }
  for (const { option, name, value } of SETTINGS) {
    const [text, ...others] = args.texts(option);
    if (text === undefined) continue;
    if (name in parameters)
      throw new AnyserveError('usage', `parameter ${name} is given twice: --${option} sets it, too`);
    parameters[name] = value([text, ...others]);
  }
  return parameters;
}

function parameterFromArgument(argument: string): readonly [name: string, value: ParameterValue] {
  const at = argument.indexOf('=');
  if (at < 1) throw new AnyserveError('usage', `--param ${JSON.stringify(argument)}: give NAME=VALUE`);
  const name = argument.slice(0, at);
  const text = argument.slice(at + 1);
  const isScalar = /^(?:true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|".*")$/s.test(text);
  return [name, isScalar ? parseRestParameter(name, parseJsonArgument(`--param ${argument}`, text)) : text];
}
