import { AnyserveError } from '../core/errors.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { findShortTokens, parseClientToken } from '../credentials/token-file.js';
import { TokenSet } from '../credentials/token-set.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './output.js';

/** Creates an option for a file with tokens, by its name. Without the file, an environment variable holds the token. */
export function createTokenFileOption(option: string, description: string): Record<string, CommandOption> {
  const variable = getTokenVariable(option);
  const text = `${description}; when not given, ${variable} holds the token`;
  return { [option]: { type: 'text', value: 'FILE', description: text } };
}

/** Returns the variable that holds a token when the option for its file is not given: the option's own, without `_FILE`. */
function getTokenVariable(option: string): string {
  const name = option.replace(/-file$/, '').replaceAll('-', '_');
  return `ANYSERVE_${name.toUpperCase()}`;
}

/** Returns a getter of the current token to send. Undefined: none. Throws `usage`. */
export function readClientToken(args: Arguments, io: CommandIo, option: string): (() => string) | undefined {
  return createTokenGetter(args, io, option, parseClientToken);
}

/** Returns a getter of the accepted tokens. Undefined: no token is required. Warns about short tokens once. Throws `usage`. */
export function readRequiredTokens(args: Arguments, io: CommandIo, option: string): (() => TokenSet) | undefined {
  let isWarned = false;
  return createTokenGetter(args, io, option, (text, where) => {
    const lines = text.split('\n');
    const tokens = new TokenSet(lines, where);
    const warning = findShortTokens(lines, where);
    if (warning !== undefined && !isWarned) {
      isWarned = true;
      createLog(io).warn(warning);
    }
    return tokens;
  });
}

/** Returns a getter of the parsed file of an option, which is read again when it changes. Undefined if it is not given. */
export function readSecretFile<T>(
  args: Arguments,
  io: CommandIo,
  option: string,
  parse: (text: string, where: string) => T,
): (() => T) | undefined {
  const path = args.getText(option);
  if (path === undefined) return undefined;
  const format = { parse: ([text = '']: readonly string[]): T => parse(text, `--${option} ${path}`) };
  return createReloadingGetter([{ option, path, isSecret: true }], format, { clock, log: createLog(io) });
}

/**
 * Returns a getter of the parsed file of an option, or of the variable that holds the token. A token is never an argument,
 * because every user of the machine can see those. Throws `usage`, including for an empty variable: it must not disable
 * authentication.
 */
function createTokenGetter<T>(
  args: Arguments,
  io: CommandIo,
  option: string,
  parse: (text: string, where: string) => T,
): (() => T) | undefined {
  const fromFile = readSecretFile(args, io, option, parse);
  if (fromFile) return fromFile;
  const variable = getTokenVariable(option);
  const text = io.env[variable];
  if (text === undefined) return undefined;
  if (text.trim() === '') throw new AnyserveError('usage', `${variable} is empty; set it to a token, or unset it`);
  const value = parse(text, variable);
  return () => value;
}
