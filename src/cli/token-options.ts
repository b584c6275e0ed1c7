import { AnyserveError } from '../core/errors.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { findShortTokens, parseClientToken } from '../credentials/token-file.js';
import { TokenSet } from '../credentials/token-set.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './output.js';

/** An option that names a file with tokens; `variable` holds the token itself where there is no file. */
export function createTokenFileOption(description: string, variable: string): CommandOption {
  return { type: 'text', value: 'FILE', description: `${description}; else ${variable} is the token` };
}

/** The token to show, as it is now; undefined: none. Throws `usage`. */
export function readClientToken(args: Arguments, io: CommandIo, option: string): (() => string) | undefined {
  return tokenSource(args, io, option, parseClientToken);
}

/** Returns a function for the tokens that callers must show; undefined if none are required. Logs short ones once. Throws `usage`. */
export function readRequiredTokens(args: Arguments, io: CommandIo, option: string): (() => TokenSet) | undefined {
  let isWarned = false;
  return tokenSource(args, io, option, (text, where) => {
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
 * What an option's file says, or the variable of the same name without `FILE`. A token is never an argument, because
 * every user of a machine sees those. Throws `usage`; a variable that is set to nothing is no wish for an open door.
 */
function tokenSource<T>(
  args: Arguments,
  io: CommandIo,
  option: string,
  parse: (text: string, where: string) => T,
): (() => T) | undefined {
  const path = args.text(option);
  if (path !== undefined) {
    const format = { parse: ([text = '']: readonly string[]): T => parse(text, `--${option} ${path}`) };
    return createReloadingGetter([{ option, path, isSecret: true }], format, { clock, log: createLog(io) });
  }
  const variable = `ANYSERVE_${option
    .replace(/-file$/, '')
    .replaceAll('-', '_')
    .toUpperCase()}`;
  const given = io.env[variable];
  if (given === undefined) return undefined;
  if (given.trim() === '') throw new AnyserveError('usage', `${variable} is empty; give it a token, or unset it`);
  const value = parse(given, variable);
  return () => value;
}
