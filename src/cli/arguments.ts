import yargs from 'yargs';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { VERSION } from '../version.js';
import { type Arguments, COMMON_OPTIONS, type Command, type CommandOption } from './command.js';
import { COMMANDS } from './commands.js';
import { formatCommandHelp, formatGeneralHelp, toVariableName, toYargsOption } from './help-text.js';
import { createUnknownCommandError, formatSuggestion } from './unknown-command.js';

/** What a command line asks for: a text to print (help, version), or a command to run. */
export type Invocation =
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'run'; readonly command: Command; readonly args: Arguments };

type Env = Readonly<Record<string, string | undefined>>;

type Parsed = Readonly<Record<string, unknown>> & { readonly _: readonly (string | number)[] };

/** The command that a command line names, with the parsed values. The parser's handlers throw it. */
class ParsedCommand {
  readonly command: Command;
  readonly values: Parsed;

  constructor(command: Command, values: Parsed) {
    this.command = command;
    this.values = values;
  }
}

/** Parses a command line; the help is wrapped to a number of columns. Throws `usage`. */
export async function parseArguments(argv: readonly string[], env: Env, columns: number): Promise<Invocation> {
  const { own: given, behind } = splitAtDashes(argv);
  const own = withoutHelpCommand(given);
  checkWords(own);
  const { parser, header } = createParser(columns);
  let printed = '';
  const parsed = await parser
    .parseAsync([...own], {}, (_error, _parsed, output) => {
      printed = output;
    })
    .catch((error: Error | ParsedCommand) => (error instanceof ParsedCommand ? error : rethrowParserError(error)));
  if (parsed instanceof ParsedCommand) {
    const { command, values } = parsed;
    return { kind: 'run', command, args: checkedArguments(command, values, behind, env) };
  }
  if (printed === VERSION) return { kind: 'print', text: `${printed}\n` };
  const help = printed || (await parser.getHelp());
  return { kind: 'print', text: `${header()}\n\n${help.trim()}\n` };
}

/** Throws `usage` for an unknown command, and for options that the parser would look up on its own objects. */
function checkWords(words: readonly string[]): void {
  const [word = '-'] = words;
  const names = COMMANDS.map(({ name }) => name);
  if (!word.startsWith('-') && !names.includes(word)) throw createUnknownCommandError(word, names);
  const inherited = words.map((word) => /^--?([^=]+)/.exec(word)?.[1] ?? '').find((name) => name in Object.prototype);
  if (inherited !== undefined)
    throw new AnyserveError('usage', `there is no option --${inherited}; see anyserve --help`);
}

/** Creates the parser of all commands, each loaded when it is named, and a function that returns the header of the help. */
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
      entry.summary,
      async (building) => {
        command = await entry.load();
        header = formatCommandHelp(command, columns);
        building.usage('');
        for (const [name, option] of Object.entries({ ...command.options, ...COMMON_OPTIONS })) {
          building.option(name, toYargsOption(name, option));
        }
        return building;
      },
      (parsed) => {
        // Thrown, because yargs makes up the help after a handler that returns, whether it is asked for or not.
        throw new ParsedCommand(command, parsed as unknown as Parsed);
      },
    );
  }
  return { parser, header: () => header };
}

/** `help`, `help COMMAND` and `version`, written as options. */
function withoutHelpCommand(words: readonly string[]): readonly string[] {
  const [first, ...others] = words;
  if (first === 'version') return ['--version'];
  if (first !== 'help') return words;
  const [name, ...more] = others.filter((word) => !word.startsWith('-'));
  return [...(name === undefined ? [] : [name]), '--help', ...more];
}

/**
 * A command line's own words, and those behind `--`, which are not looked into: they may be the options of another
 * program.
 */
export function splitAtDashes(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly behind: readonly string[] | undefined;
} {
  const at = argv.indexOf('--');
  return at < 0 ? { own: argv, behind: undefined } : { own: argv.slice(0, at), behind: argv.slice(at + 1) };
}

/** What the parser itself objects to is usage; anything else came out of a command's own file. */
function rethrowParserError(error: Error): never {
  if (error.name !== 'YError') throw error;
  const option = /^Not enough arguments following: (.+)$/.exec(error.message)?.[1];
  throw new AnyserveError(
    'usage',
    option === undefined
      ? getErrorMessage(error)
      : `--${option} needs a value; one that begins with - is written --${option}=VALUE`,
  );
}

/** Returns the arguments of a command. Throws `usage` for unknown options and for too many words. */
function checkedArguments(
  command: Command,
  parsed: Parsed,
  behind: readonly string[] | undefined,
  env: Env,
): Arguments {
  const options = { ...command.options, ...COMMON_OPTIONS };
  checkOptions(command, parsed, Object.keys(options));
  const words = [...parsed._.slice(1).map(String), ...((command.runsProgram ? undefined : behind) ?? [])];
  if (words.length > command.maxWords) {
    const extra = JSON.stringify(words[command.maxWords]);
    throw new AnyserveError(
      'usage',
      `anyserve ${command.name} does not know what to do with ${extra}; see anyserve ${command.name} --help`,
    );
  }
  const texts = (name: string): readonly string[] =>
    optionTexts(name, options[name] as CommandOption, [parsed[name] ?? []].flat().map(String), env);
  return {
    words,
    program: command.runsProgram ? behind : undefined,
    texts,
    text: (name) => texts(name)[0],
    flag(name) {
      if (parsed[name] !== undefined)
        return parsed[name] === true || (Array.isArray(parsed[name]) && parsed[name].includes(true));
      return isFlagSet(env[toVariableName(name)]);
    },
    isGiven: (name) => parsed[name] !== undefined,
  };
}

/** Throws `usage` for an option that the command does not have. */
function checkOptions(command: Command, parsed: Parsed, names: readonly string[]): void {
  const known = new Set([...names, '_', '$0', 'help', 'h', 'version', 'v', 'V']);
  const unknown = Object.keys(parsed).find((name) => !known.has(name));
  if (unknown === undefined) return;
  const dashes = unknown.length === 1 ? '-' : '--';
  throw new AnyserveError(
    'usage',
    `anyserve ${command.name} has no option ${dashes}${unknown}${formatSuggestion(unknown, names, '--')}`,
  );
}

/** Returns the values of an option: those given, else those of its variable, else its default. Throws `usage`. */
function optionTexts(name: string, option: CommandOption, given: readonly string[], env: Env): readonly string[] {
  if (given.length > 1 && !option.repeatable)
    throw new AnyserveError('usage', `--${name} is given ${given.length} times`);
  if (given.includes('') && !option.mayBeEmpty) throw new AnyserveError('usage', `--${name} needs a value`);
  if (given.length > 0) return given;
  const fromEnv = env[toVariableName(name)];
  if (fromEnv) return option.repeatable ? fromEnv.split(option.spaced ? /\s+/ : /\n+/).filter(Boolean) : [fromEnv];
  return option.default === undefined ? [] : [option.default];
}

/** Whether the variable of a flag sets it. */
export function isFlagSet(value: string | undefined): boolean {
  return /^(1|true|yes|on)$/i.test(value ?? '');
}
