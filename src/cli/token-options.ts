import { parseServerUrl } from '../client/server-list.js';
import { AnyserveError } from '../core/errors.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { findShortTokens, parseClientToken } from '../credentials/token-file.js';
import { TokenSet } from '../credentials/token-set.js';
import { clock } from '../system.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLog } from './log-lines.js';

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

/** A file that is only for one server, such as `http://a:8080=token-a`. */
const SERVER_FILE = /^(https?:\/\/[^=]+)=(.+)$/su;

/** Option for the tokens to send to the API servers. */
export const SERVER_TOKEN_OPTION: Record<string, CommandOption> = {
  'token-file': {
    type: 'text',
    value: 'FILE',
    description:
      'file with the token to send to the API servers; URL=FILE: for this server only; when not given, ANYSERVE_TOKEN holds ' +
      'the token',
    repeatable: true,
  },
};

/**
 * Returns a getter of the current token to send to the server with a URL of `--server`. Undefined: none is given. Throws `usage`, also
 * for a URL that isn't in the list.
 */
export function readServerTokens(
  args: Arguments,
  io: CommandIo,
): ((serverUrl: string) => string | undefined) | undefined {
  const option = 'token-file';
  const values = args.getTexts(option);
  if (values.length === 0) return readClientToken(args, io, option);
  const servers = args.getTexts('server').map(parseServerUrl);
  const getters = new Map<string | undefined, () => string>();
  for (const value of values) {
    const [, url, path = value] = SERVER_FILE.exec(value) ?? [];
    const server = url === undefined ? undefined : parseServerUrl(url);
    if (server !== undefined && !servers.includes(server)) {
      throw new AnyserveError('usage', `--${option} ${value}: ${server} is not one of the servers of --server`);
    }
    if (getters.has(server)) {
      const subject = server === undefined ? 'all servers' : server;
      throw new AnyserveError(
        'usage',
        `--${option} has two files for ${subject}; give one, or URL=FILE for each server`,
      );
    }
    getters.set(server, createFileGetter(path, { args, io, option, parse: parseClientToken }));
  }
  return (serverUrl) => (getters.get(serverUrl) ?? getters.get(undefined))?.();
}

/** Returns a getter of the accepted tokens. Undefined: no token is required. Warns about short tokens once. Throws `usage`. */
export function readRequiredTokens(args: Arguments, io: CommandIo, option: string): (() => TokenSet) | undefined {
  return createTokenGetter(args, io, option, createTokensParser(args, io, option));
}

/** Returns getters of the token for the other API servers, and of the tokens that are accepted from them. */
export function readPeerTokens(args: Arguments, io: CommandIo) {
  const option = 'peer-token-file';
  const parseTokens = createTokensParser(args, io, option);
  const getTokens = createTokenGetter(args, io, option, (text, where) => ({
    sent: parseClientToken(text, where),
    accepted: parseTokens(text, where),
  }));
  return getTokens && { peerToken: () => getTokens().sent, peerTokens: () => getTokens().accepted };
}

/** Creates a function that parses the accepted tokens. Only tokens for the registry can have pairs. */
function createTokensParser(args: Arguments, io: CommandIo, option: string) {
  let isWarned = false;
  return (text: string, where: string): TokenSet => {
    const lines = text.split('\n');
    const tokens = new TokenSet(lines, where);
    const canHavePairs = option === 'register-token-file' || option === 'read-token-file';
    if (!canHavePairs && tokens.scopes.length > 0) {
      throw new AnyserveError('usage', `${where}: only register and read tokens can be limited by pairs; remove them`);
    }
    const warning = findShortTokens(lines, where);
    if (warning !== undefined && !isWarned) {
      isWarned = true;
      createLog(io, args).warn(warning, { event: 'short_tokens' });
    }
    return tokens;
  };
}

/** Returns a getter of the parsed file of an option, which is read again when it changes. Undefined if it is not given. */
export function readSecretFile<T>(
  args: Arguments,
  io: CommandIo,
  option: string,
  parse: (text: string, where: string) => T,
): (() => T) | undefined {
  const path = args.getText(option);
  return path === undefined ? undefined : createFileGetter(path, { args, io, option, parse });
}

/** A kind of secret file: the option that names it, and its format. */
interface SecretFile<T> {
  readonly args: Arguments;
  readonly io: CommandIo;
  readonly option: string;
  readonly parse: (text: string, where: string) => T;
}

function createFileGetter<T>(path: string, { args, io, option, parse }: SecretFile<T>): () => T {
  const format = { parse: ([text = '']: readonly string[]): T => parse(text, `--${option} ${path}`) };
  return createReloadingGetter([{ option, path, isSecret: true }], format, { clock, log: createLog(io, args) });
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
