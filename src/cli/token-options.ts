import { AnyserveError } from '../core/errors.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { findShortTokens, parseClientToken } from '../credentials/token-file.js';
import { TokenSet } from '../credentials/token-set.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './output.js';

/** Creates an option for a file with tokens. Without the file, the token is read from the environment variable `variable`. */
export function createTokenFileOption(description: string, variable: string): CommandOption {
  return { type: 'text', value: 'FILE', description: `${description}; when not given, ${variable} holds the token` };
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

/**
 * Returns a getter of the parsed file of an option, or of the variable of the same name without `_FILE`. A token is never an
 * argument, because every user of the machine can see those. Throws `usage`, also for an empty variable: it must not disable
 * authentication.
 */
function createTokenGetter<T>(
  args: Arguments,
  io: CommandIo,
  option: string,
  parse: (text: string, where: string) => T,
): (() => T) | undefined {
  const path = args.getText(option);
  if (path !== undefined) {
    const format = { parse: ([text = '']: readonly string[]): T => parse(text, `--${option} ${path}`) };
    return createReloadingGetter([{ option, path, isSecret: true }], format, { clock, log: createLog(io) });
  }
  const variable = `ANYSERVE_${option
    .replace(/-file$/, '')
    .replaceAll('-', '_')
    .toUpperCase()}`;
  const text = io.env[variable];
  if (text === undefined) return undefined;
  if (text.trim() === '') throw new AnyserveError('usage', `${variable} is empty; set it to a token, or unset it`);
  const value = parse(text, variable);
  return () => value;
}
