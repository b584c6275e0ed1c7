// A default import, because a named import of `hash` fails on older Node.js versions before the version check can report it.
import crypto from 'node:crypto';
import { isToken, parseTokenLines } from './token-file.js';

/** A set of valid tokens. It stores only digests, so that no token can be leaked by mistake. */
export class TokenSet {
  readonly #known: readonly { readonly digest: Uint8Array; readonly prefix: string }[];

  /**
   * Creates a set from the lines of a token file: `TOKEN`, or `TOKEN PREFIX` for a token that can only register replica
   * ids with that prefix. Ignores empty lines and lines that begin with `#`. Throws `usage` for invalid lines, and if
   * there is no token. The message contains `where`, never a token.
   */
  constructor(lines: readonly string[], where = 'the tokens') {
    this.#known = parseTokenLines(lines, where).map(({ token, prefix }) => ({ digest: hashToken(token), prefix }));
  }

  /**
   * Finds the prefixes of the replica ids that a token can register, one per line with the token. Returns an empty list
   * for an unknown token. Takes the digest from {@link hashToken}, which can be used for several sets. Takes the same
   * time for every token.
   */
  findPrefixes(digest: Uint8Array): readonly string[] {
    return this.#known.filter((known) => crypto.timingSafeEqual(known.digest, digest)).map(({ prefix }) => prefix);
  }
}

/**
 * Parses the `authorization` headers of a request. Returns undefined unless there is exactly one, with a bearer token.
 */
export function parseBearerToken(headers: readonly string[]): string | undefined {
  const token = headers.length === 1 ? /^bearer +(.*)$/i.exec(headers[0] as string)?.[1] : undefined;
  return token !== undefined && isToken(token) ? token : undefined;
}

/** Computes the digest of a token (SHA-256). */
export function hashToken(token: string): Uint8Array {
  return crypto.hash('sha256', token, 'buffer');
}
