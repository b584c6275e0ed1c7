// A default import, because a named import of `hash` fails on older Node.js versions before the version check can report it.
import crypto from 'node:crypto';
import { type Scope, WHOLE_REGISTRY } from '../core/scope.js';
import { isToken, parseTokenLines, type TokenLine } from './token-file.js';

/** The uses that a token allows. */
export interface TokenGrant {
  /** Prefixes of the replica ids that it can register, one per line with the token. */
  readonly prefixes: readonly string[];
  /** The part of the registry that it can see and register. */
  readonly scope: Scope;
}

/** A set of valid tokens. It stores only digests, so that no token can be leaked by mistake. */
export class TokenSet {
  /** The scopes of the tokens that are limited to a part of the registry. */
  readonly scopes: readonly Scope[];
  readonly #known: readonly (Omit<TokenLine, 'token'> & { readonly digest: Uint8Array })[];

  /**
   * Creates a set from the lines of a token file: `TOKEN`, `TOKEN PREFIX` for a token that can only register replica ids with that
   * prefix, or `TOKEN prefix=PREFIX KEY=VALUE ...` for one that is also limited to capability objects with these pairs. Ignores empty
   * lines and lines that begin with `#`. Throws `usage` for invalid lines, and if there is no token. The message contains `where`, never
   * a token.
   */
  constructor(lines: readonly string[], where = 'the tokens') {
    this.#known = parseTokenLines(lines, where).map(({ token, prefix, scope }) => ({
      digest: hashToken(token),
      prefix,
      scope,
    }));
    this.scopes = this.#known.map(({ scope }) => scope).filter((scope) => scope !== WHOLE_REGISTRY);
  }

  /**
   * Finds what a token can be used for. Returns undefined for an unknown token. Takes the digest from {@link hashToken}, which can be
   * used for several sets. Takes the same time for every token.
   */
  findGrant(digest: Uint8Array): TokenGrant | undefined {
    const lines = this.#known.filter((known) => crypto.timingSafeEqual(known.digest, digest));
    return lines[0] && { prefixes: lines.map(({ prefix }) => prefix), scope: lines[0].scope };
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
