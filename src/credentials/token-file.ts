import { AnyserveError } from '../core/errors.js';

/** A line of a token file: a token, and how the ids begin that it may register; the empty text for any id. */
export interface TokenLine {
  readonly token: string;
  readonly prefix: string;
}

/** The characters of a token: those of a header value, without space and comma, at which gRPC splits values. */
const TOKEN = /^[\x21-\x2b\x2d-\x7e]+$/;

/** Whether a text can be a token. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Returns the first token of a token file, which is the one that a client shows. Throws `usage`. */
export function parseClientToken(text: string, where: string): string {
  return (parseTokenLines(text.split('\n'), where)[0] as TokenLine).token;
}

/** The lines of a token file that have a token, at least one. Throws `usage`, which names `where` and never a token. */
export function parseTokenLines(lines: readonly string[], where: string): TokenLine[] {
  const found: TokenLine[] = [];
  for (const [at, line] of lines.entries()) {
    const words = line.trim().split(/\s+/);
    const [token = '', prefix = ''] = words;
    if (token === '' || token.startsWith('#')) continue;
    if (words.length > 2) throw unusable(where, `line ${at + 1} has more than a token and a prefix`);
    if (!isToken(token))
      throw unusable(where, `the token in line ${at + 1} has a comma, or characters outside of ASCII`);
    found.push({ token, prefix });
  }
  if (found.length === 0)
    throw unusable(where, 'there is no token in it; put one into it, such as of "openssl rand -hex 32"');
  return found;
}

/** Minimum length of a token that can't be guessed, if it was made at random. */
const MIN_SAFE_LENGTH = 16;

/** Returns the warning for a token file with tokens that are so short that they can be guessed; never shows a token. */
export function findShortTokens(lines: readonly string[], where: string): string | undefined {
  const short = parseTokenLines(lines, where).filter(({ token }) => token.length < MIN_SAFE_LENGTH);
  if (short.length === 0) return undefined;
  const these = short.length === 1 ? '1 token is' : `${short.length} tokens are`;
  return `${where}: ${these} shorter than ${MIN_SAFE_LENGTH} characters and can be guessed; use "openssl rand -hex 32"`;
}

function unusable(where: string, problem: string): AnyserveError {
  return new AnyserveError('usage', `${where}: ${problem}`);
}
