import { AnyserveError } from '../core/errors.js';
import { createScope, type Scope, WHOLE_REGISTRY } from '../core/scope.js';

/** A line of a token file: a token, and what it can be used for. */
export interface TokenLine {
  readonly token: string;
  /** Prefix of the replica ids that the token can register. An empty one allows any id. */
  readonly prefix: string;
  /** The capability objects that the token can see and register. */
  readonly scope: Scope;
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
  const scopeKeys = new Map<string, { readonly key: string; readonly line: number }>();
  for (const [index, text] of lines.entries()) {
    const [token = '', ...words] = text.trim().split(/\s+/);
    if (token === '' || token.startsWith('#')) continue;
    const line = index + 1;
    if (!isToken(token))
      throw createTokenFileError(
        where,
        `the token in line ${line} has a comma or a non-ASCII character; ${NEW_TOKEN_ADVICE}`,
      );
    const parsedLine = {
      token,
      ...parseWords(words, (problem) => createTokenFileError(where, `line ${line} ${problem}`)),
    };
    const { key } = parsedLine.scope;
    const first = scopeKeys.get(token) ?? { key, line };
    if (first.key !== key) {
      const problem = `lines ${first.line} and ${line} have the same token with different pairs`;
      throw createTokenFileError(where, `${problem}; use another token in one of them`);
    }
    scopeKeys.set(token, first);
    parsed.push(parsedLine);
  }
  if (parsed.length === 0) throw createTokenFileError(where, `it contains no token; ${NEW_TOKEN_ADVICE}`);
  return parsed;
}

/** How to get a token, for messages. */
const NEW_TOKEN_ADVICE = 'generate one with "openssl rand -hex 32"';

/** The form of a line with pairs, for messages. */
const PAIRS_FORM = 'TOKEN prefix=PREFIX KEY=VALUE';

/** Characters of a text in another encoding that was read as UTF-8. */
const NOT_UTF8 = /[\0\ufffd]/u;

/** Parses what follows the token in a line: nothing, a prefix, or pairs with a prefix among them. Any word can be a token by mistake, so errors quote none. */
function parseWords(
  words: readonly string[],
  createError: (problem: string) => AnyserveError,
): Pick<TokenLine, 'prefix' | 'scope'> {
  const [second = ''] = words;
  if (words.some((word) => NOT_UTF8.test(word)))
    throw createError('has a character that is not UTF-8; save the file as UTF-8');
  if (!second.includes('=')) {
    if (words.length > 1) throw createError(`has more than a token and a prefix; write pairs as ${PAIRS_FORM}`);
    return { prefix: second, scope: WHOLE_REGISTRY };
  }
  const pairs = new Map<string, string>();
  for (const word of words) {
    const [, key, value] = /^([^=]+)=(.+)$/su.exec(word) ?? [];
    if (key === undefined || value === undefined)
      throw createError(`has a word that is not KEY=VALUE; write it as ${PAIRS_FORM}`);
    if (pairs.has(key)) throw createError(`has the same key twice; write it as ${PAIRS_FORM}, with each key once`);
    pairs.set(key, value);
  }
  const prefix = pairs.get('prefix');
  if (prefix === undefined) throw createError(`has pairs without prefix=PREFIX; write it as ${PAIRS_FORM}`);
  // Without spaces between them, pairs would become a part of the prefix, and the token would have no limit.
  if (prefix.includes('=')) throw createError(`has a prefix with "="; write it as ${PAIRS_FORM}, with spaces between`);
  pairs.delete('prefix');
  return { prefix, scope: createScope([...pairs]) };
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
