import { AnyserveError } from '../core/errors.js';

/**
 * A line of a token file: a token, and the prefix of the replica ids that it can register. An empty prefix allows any
 * id.
 */
export interface TokenLine {
  readonly token: string;
  readonly prefix: string;
}

/** A token: printable ASCII without spaces and without commas, at which gRPC splits header values. */
const TOKEN = /^[\x21-\x2b\x2d-\x7e]+$/;

/** Returns whether a string is a valid token. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Returns the first token of a token file, which clients send. Throws `usage` for an invalid file. */
export function parseClientToken(text: string, where: string): string {
  return (parseTokenLines(text.split('\n'), where)[0] as TokenLine).token;
}

/**
 * Parses the lines of a token file, except empty lines and comments (`#`). Throws `usage` for invalid lines, and if
 * there is no token. The message contains `where`, never a token.
 */
export function parseTokenLines(lines: readonly string[], where: string): TokenLine[] {
  const parsed: TokenLine[] = [];
  for (const [index, line] of lines.entries()) {
    const words = line.trim().split(/\s+/);
    const [token = '', prefix = ''] = words;
    if (token === '' || token.startsWith('#')) continue;
    if (words.length > 2) throw createTokenFileError(where, `line ${index + 1} has more than a token and a prefix`);
    if (!isToken(token))
      throw createTokenFileError(where, `the token in line ${index + 1} has a comma or a non-ASCII character`);
    parsed.push({ token, prefix });
  }
  if (parsed.length === 0)
    throw createTokenFileError(where, 'it contains no token; generate one with "openssl rand -hex 32"');
  return parsed;
}

/** Minimum length of a random token that is safe from guessing, in characters. */
const MIN_SAFE_TOKEN_LENGTH = 16;

/** Returns a warning if a token file has tokens that are short enough to guess. The warning never contains a token. */
export function findShortTokens(lines: readonly string[], where: string): string | undefined {
  const short = parseTokenLines(lines, where).filter(({ token }) => token.length < MIN_SAFE_TOKEN_LENGTH);
  if (short.length === 0) return undefined;
  const subject = short.length === 1 ? '1 token is' : `${short.length} tokens are`;
  return `${where}: ${subject} shorter than ${MIN_SAFE_TOKEN_LENGTH} characters and can be guessed; use "openssl rand -hex 32"`;
}

function createTokenFileError(where: string, problem: string): AnyserveError {
  return new AnyserveError('usage', `${where}: ${problem}`);
}
