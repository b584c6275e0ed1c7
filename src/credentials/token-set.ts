// Imported as a whole: an older Node.js has no `hash`, and its error would come before the one that names the version.
import crypto from 'node:crypto';
import { isToken, parseTokenLines } from './token-file.js';

/** Tokens that open a door. They are kept as digests, so that none of them can be shown by mistake. */
export class TokenSet {
  readonly #known: readonly { readonly digest: Uint8Array; readonly prefix: string }[];

  /**
   * Takes the lines of a token file: `TOKEN`, or `TOKEN PREFIX` for one that may register only ids that begin so. Empty
   * lines and those that begin with `#` say nothing. Throws `usage`, which names `where` and never a token, for other
   * lines and when there is no token.
   */
  constructor(lines: readonly string[], where = 'the tokens') {
    this.#known = parseTokenLines(lines, where).map(({ token, prefix }) => ({ digest: hashToken(token), prefix }));
  }

  /**
   * How the ids begin that the token shown may register, one entry for each line that has it; empty when none has. It
   * takes the same time for every token, of which it is told the {@link hashToken}, to compare it with several sets.
   */
  findPrefixes(shown: Uint8Array): readonly string[] {
    return this.#known.filter(({ digest }) => crypto.timingSafeEqual(digest, shown)).map(({ prefix }) => prefix);
  }
}

/** The token in the values of the `authorization` headers of one request; undefined unless it is one bearer token. */
export function parseBearerToken(headers: readonly string[]): string | undefined {
  const shown = headers.length === 1 ? /^bearer +(.*)$/i.exec(headers[0] as string)?.[1] : undefined;
  return shown !== undefined && isToken(shown) ? shown : undefined;
}

/** What a token is known by. */
export function hashToken(token: string): Uint8Array {
  return crypto.hash('sha256', token, 'buffer');
}
