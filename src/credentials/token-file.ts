import { AnyserveError } from '../core/errors.js';

/** A line of a token file: a token, and how the ids begin that it may register; the empty text for any id. */
export interface TokenLine {
  readonly token: string;
  readonly prefix: string;
}

/** What a token looks like: what can stand in a header, but no space, and no comma, at which gRPC divides values. */
const TOKEN = /^[\x21-\x2b\x2d-\x7e]+$/;

/** Whether a text can be a token. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** The token that a token file has whoever reads it show: its first. Throws `usage`. */
export function firstToken(text: string, where: string): string {
  return (tokenLines(text.split('\n'), where)[0] as TokenLine).token;
}

/** The lines of a token file that have a token, at least one. Throws `usage`, which names `where` and never a token. */
export function tokenLines(lines: readonly string[], where: string): TokenLine[] {
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

function unusable(where: string, problem: string): AnyserveError {
  return new AnyserveError('usage', `${where}: ${problem}`);
}
