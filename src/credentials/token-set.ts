import { createHash, timingSafeEqual } from 'node:crypto';
import { AnyserveError } from '../core/errors.js';

/** A line of a token file: a token, and how the ids begin that it may register; the empty text for any id. */
interface TokenLine {
  readonly token: string;
  readonly prefix: string;
}

/** What a token looks like: what can stand in a header, but no space, and no comma, at which gRPC divides values. */
const TOKEN = /^[\x21-\x2b\x2d-\x7e]+$/;

/** Tokens that open a door. They are kept as digests, so that none of them can be shown by mistake. */
export class TokenSet {
  readonly #known: readonly { readonly digest: Buffer; readonly prefix: string }[];

  /**
   * Takes the lines of a token file: `TOKEN`, or `TOKEN PREFIX` for one that may register only ids that begin so. Empty
   * lines and those that begin with `#` say nothing. Throws `usage`, which names `where` and never a token, for other
   * lines and when there is no token.
   */
  constructor(lines: readonly string[], where = 'the tokens') {
    this.#known = tokenLines(lines, where).map(({ token, prefix }) => ({ digest: digestOf(token), prefix }));
  }

  /**
   * How the ids begin that the token shown may register, one entry for each line that has it; empty when none has. It
   * takes the same time for every token.
   */
  prefixesOf(shown: string): readonly string[] {
    const digest = digestOf(shown);
    return this.#known.filter((known) => timingSafeEqual(known.digest, digest)).map(({ prefix }) => prefix);
  }
}

/** The token that a token file has whoever reads it show: its first. Throws `usage`. */
export function firstToken(text: string, where: string): string {
  return (tokenLines(text.split('\n'), where)[0] as TokenLine).token;
}

/** The token in the values of the `authorization` headers of one request; undefined unless it is one bearer token. */
export function bearerToken(headers: readonly string[]): string | undefined {
  const shown = headers.length === 1 ? /^bearer +(.*)$/i.exec(headers[0] as string)?.[1] : undefined;
  return shown !== undefined && TOKEN.test(shown) ? shown : undefined;
}

function tokenLines(lines: readonly string[], where: string): TokenLine[] {
  const found: TokenLine[] = [];
  for (const [at, line] of lines.entries()) {
    const words = line.trim().split(/\s+/);
    const [token = '', prefix = ''] = words;
    if (token === '' || token.startsWith('#')) continue;
    if (words.length > 2) throw unusable(where, `line ${at + 1} has more than a token and a prefix`);
    if (!TOKEN.test(token))
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

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
