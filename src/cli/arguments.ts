import yargs from 'yargs';
import { AnyserveError, getErrorMessage, isAnyserveError } from '../core/errors.js';
import { VERSION } from '../version.js';
import { type Arguments, COMMON_OPTIONS, type Command, type CommandOption } from './command.js';
import { COMMANDS } from './commands.js';
import { formatCommandHelp, formatGeneralHelp, toVariableName, toYargsOption } from './help-text.js';
import { createUnknownCommandError, formatSuggestion } from './unknown-command.js';

const COMMAND_NAMES: readonly string[] = COMMANDS.map(({ name }) => name);

/** Outcome of parsing a command line: text to print (help or version), or a command to run. */
export type Invocation =
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'run'; readonly command: Command; readonly args: Arguments };

type Env = Readonly<Record<string, string | undefined>>;

type Parsed = Readonly<Record<string, unknown>> & { readonly _: readonly (string | number)[] };

/** The command named on the command line, with the parsed values. Thrown by the parser's handlers. */
class ParsedCommand {
  readonly command: Command;
  readonly values: Parsed;

  constructor(command: Command, values: Parsed) {
    this.command = command;
    this.values = values;
  }
}

/** Parses a command line. `columns` is the width that help text wraps at. Throws `usage`. */
export async function parseArguments(argv: readonly string[], env: Env, columns: number): Promise<Invocation> {
  const { before, after } = splitAtDashes(argv);
  const words = toHelpOptions(moveLeadingFlags(before));
  checkWords(words);
  const { parser, header } = createParser(columns);
  let printed = '';
  const parsed = await parser
    .parseAsync([...words], {}, (_error, _parsed, output) => {
      printed = output;
    })
    .catch((error: Error | ParsedCommand) => (error instanceof ParsedCommand ? error : rethrowParserError(error)));
  if (parsed instanceof ParsedCommand) {
    const { command, values } = parsed;
    return { kind: 'run', command, args: createArguments(command, values, after, env) };
  }
  if (printed === VERSION) return { kind: 'print', text: `${printed}\n` };
  if (printed === '' && !isHelpRequest(words, after)) throw createNoCommandError(parsed._.map(String));
  const help = printed || (await parser.getHelp());
  return { kind: 'print', text: `${header()}\n\n${help.trim()}\n` };
}

/** Throws `usage` for an unknown command, and for options named like a property of `Object.prototype`. */
function checkWords(words: readonly string[]): void {
  const [word = '-'] = words;
  if (!word.startsWith('-') && !COMMAND_NAMES.includes(word)) throw createUnknownCommandError(word, COMMAND_NAMES);
  const inherited = words.map((word) => /^--?([^=]+)/.exec(word)?.[1] ?? '').find((name) => name in Object.prototype);
  if (inherited !== undefined) throw new AnyserveError('usage', `unknown option --${inherited}; see anyserve --help`);
}

/** Creates the parser and a function that returns the header of the help. A command is loaded only when it is named. */
function createParser(columns: number) {
  let header = formatGeneralHelp(columns);
  const parser = yargs()
    .scriptName('anyserve')
    .locale('en')
    .version(VERSION)
    .help('help')
    .alias({ help: 'h', version: ['v', 'V'] })
    .exitProcess(false)
    .wrap(columns)
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .usage('')
    .fail(false);
  for (const entry of COMMANDS) {
    let command: Command;
    parser.command(
      entry.name,
      entry.listSummary,
      async (builder) => {
        command = await entry.load();
        header = formatCommandHelp(command, columns);
        builder.usage('');
        for (const [name, option] of Object.entries({ ...command.options, ...COMMON_OPTIONS })) {
          builder.option(name, toYargsOption(name, option));
        }
        return builder;
      },
      (parsed) => {
        // Thrown because yargs renders the help after each handler that returns.
        throw new ParsedCommand(command, parsed as unknown as Parsed);
      },
    );
  }
  return { parser, header: () => header };
}

/** A flag of every command, which is also allowed before the command. */
const COMMON_FLAG = /^(?:-h|--help|--(?:json|debug)(?:=.*)?)$/;

/** Moves the common flags from the start to after the command. Otherwise the parser would take the command for their value. */
function moveLeadingFlags(words: readonly string[]): readonly string[] {
  const start = words.findIndex((word) => !COMMON_FLAG.test(word));
  if (start <= 0) return words;
  const [flags, [first = '', ...rest]] = [words.slice(0, start), words.slice(start)];
  return first.startsWith('-') ? [first, ...rest, ...flags] : [first, ...flags, ...rest];
}

/** Returns whether a command line without a command requests the general help. */
function isHelpRequest(words: readonly string[], after: readonly string[] | undefined): boolean {
  return words.every((word) => COMMON_FLAG.test(word)) && !after?.length;
}

/** Creates the error for a command line without a known command. */
function createNoCommandError([word]: readonly string[]): AnyserveError {
  if (word !== undefined) return createUnknownCommandError(word, COMMAND_NAMES);
  return new AnyserveError('usage', 'missing COMMAND: give it before its options; see anyserve --help');
}

/** Rewrites `help`, `help COMMAND` and `version` as options. */
function toHelpOptions(words: readonly string[]): readonly string[] {
  const [first, ...rest] = words;
  if (first === 'version') return ['--version'];
  if (first !== 'help') return words;
  const [name, ...more] = rest.filter((word) => !word.startsWith('-'));
  return [...(name === undefined ? [] : [name]), '--help', ...more];
}

/**
 * Splits a command line at the first `--`. The words after it are not parsed, because they can be options of another
 * program. `after` is undefined when there is no `--`.
 */
export function splitAtDashes(argv: readonly string[]): {
  readonly before: readonly string[];
  readonly after: readonly string[] | undefined;
} {
  const index = argv.indexOf('--');
  return index < 0
    ? { before: argv, after: undefined }
    : { before: argv.slice(0, index), after: argv.slice(index + 1) };
}

/** Rethrows errors of yargs as `usage`, and other errors, which come from loading a command's file, unchanged. */
function rethrowParserError(error: Error): never {
  if (error.name !== 'YError') throw error;
  const option = /^Not enough arguments following: (.+)$/.exec(error.message)?.[1];
  throw new AnyserveError(
    'usage',
    option === undefined
      ? getErrorMessage(error)
      : `--${option} needs a value; if the value begins with -, write --${option}=VALUE`,
  );
}

/** Creates the arguments of a command. Throws `usage` for unknown options and for too many words. */
function createArguments(command: Command, parsed: Parsed, after: readonly string[] | undefined, env: Env): Arguments {
  const options = { ...command.options, ...COMMON_OPTIONS };
  const letters = Object.values(options).flatMap(({ letter }) => letter ?? []);
  checkOptions(command, parsed, Object.keys(options), letters);
  const words = [...parsed._.slice(1).map(String), ...((command.runsProgram ? undefined : after) ?? [])];
  if (words.length > command.maxWords) {
    const extra = JSON.stringify(words[command.maxWords]);
    throw new AnyserveError('usage', `unexpected argument ${extra}; see anyserve ${command.name} --help`);
  }
  const texts = (name: string): readonly string[] => {
    const option = options[name];
    if (!option) return [];
    const values = getOptionValues(name, option, [parsed[name] ?? []].flat().map(String), env);
    for (const value of values) checkValue(name, option, value);
    return values;
  };
  return {
    words,
    program: command.runsProgram ? after : undefined,
    getTexts: texts,
    getText: (name) => texts(name)[0],
    hasFlag(name) {
      if (parsed[name] !== undefined)
        return parsed[name] === true || (Array.isArray(parsed[name]) && parsed[name].includes(true));
      return isFlagSet(env[toVariableName(name)]);
    },
    isGiven: (name) => parsed[name] !== undefined,
  };
}

/** Throws `usage` for an option that the command doesn't have. */
function checkOptions(command: Command, parsed: Parsed, names: readonly string[], letters: readonly string[]): void {
  const known = new Set([...names, ...letters, '_', '$0', 'help', 'h', 'version', 'v', 'V']);
  const unknown = Object.keys(parsed).find((name) => !known.has(name));
  if (unknown === undefined) return;
  const dashes = unknown.length === 1 ? '-' : '--';
  throw new AnyserveError(
    'usage',
    `anyserve ${command.name} has no option ${dashes}${unknown}${formatSuggestion(unknown, names, '--')}`,
  );
}

/**
 * Returns the values of an option: from the command line, else from its environment variable, else the default.
 * Throws `usage`.
 */
function getOptionValues(name: string, option: CommandOption, values: readonly string[], env: Env): readonly string[] {
  if (values.length > 1 && !option.repeatable)
    throw new AnyserveError('usage', `--${name} is given ${values.length} times; give it once`);
  if (values.includes('') && !option.mayBeEmpty) throw new AnyserveError('usage', `--${name} needs a value`);
  if (values.length > 0) return values;
  const fromEnv = env[toVariableName(name)];
  if (fromEnv) return option.repeatable ? fromEnv.split(option.spaced ? /\s+/ : /\n+/).filter(Boolean) : [fromEnv];
  return option.default === undefined ? [] : [option.default];
}

/** Checks a value of an option. Throws `usage`, with the name of the option. */
function checkValue(name: string, { check }: CommandOption, value: string): void {
  try {
    check?.(value);
  } catch (cause) {
    if (!isAnyserveError(cause) || cause.message.includes(`--${name}`)) throw cause;
    throw new AnyserveError(cause.code, `--${name}: ${cause.message}`, { cause });
  }
}

/**
 * Adds to a `usage` error the environment variables that hold the options it names, because the user has not typed these options.
 * For example, Kubernetes sets ANYSERVE_PORT for a Service with the name anyserve.
 */
export function nameVariables(error: AnyserveError, args: Arguments, env: Env): AnyserveError {
  if (error.code !== 'usage') return error;
  const options = new Set(Array.from(error.message.matchAll(/--([a-z][\w-]*)/g), ([, option = '']) => option));
  const variables = [...options].filter((option) => !args.isGiven(option)).map(toVariableName);
  const names = variables.filter((name) => env[name]).join(', ');
  return names === '' ? error : new AnyserveError('usage', `${error.message} (set by ${names})`, { cause: error });
}

/** Returns whether the value of an environment variable turns a flag on. */
export function isFlagSet(value: string | undefined): boolean {
  return /^(1|true|yes|on)$/i.test(value ?? '');
}
