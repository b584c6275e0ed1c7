import crypto from 'node:crypto';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { EMPTY_SELECTOR, type Selector } from '../core/selector.js';
import { parseSelector } from '../core/selector-parser.js';
import { isToken } from './token-file.js';
import { hashToken, parseBearerToken } from './token-set.js';

/** A key of a caller, and what its requests can ask for. */
export interface CallerKey {
  readonly name: string;
  /** Whether its requests can choose among replicas. */
  readonly canSteer: boolean;
  /** Selector that the replicas of its requests must match. */
  readonly selector: Selector;
}

/** The key of a line. */
interface ParsedKey extends CallerKey {
  readonly digest: Uint8Array;
}

/** The words of a line that is not empty, apart from the selector. */
const LINE = /^(\S+)\s+(\S+)(?:\s+(steer))?(?:\s+where=(.*))?$/;

/** The header that a connection has sent last, with the key that it carried. */
interface KnownHeader {
  readonly text: string;
  readonly key: CallerKey;
}

/**
 * The keys of the callers of a gateway. It stores only digests of them, and for each connection the header with the key that was
 * last found. A connection sends the same header with each request, and comparing it takes a tenth of the time of a digest.
 */
export class CallerKeys {
  readonly #keys: readonly ParsedKey[];
  readonly #known = new WeakMap<object, KnownHeader>();

  /**
   * Creates a set from the lines of a key file: `NAME KEY [steer] [where=SELECTOR]`, the selector up to the end of the line.
   * Ignores empty lines and lines that begin with `#`. Throws `usage` for invalid lines, for two lines with the same key, and without
   * a key. The message contains `where`, never a key.
   */
  constructor(lines: readonly string[], where: string) {
    this.#keys = parseKeys(lines, where);
  }

  /**
   * Finds the key that the `authorization` headers of a request carry; undefined for none. `connection` stands for the connection of
   * the request. Takes the same time for every key of the same length that the connection has not sent before.
   */
  find(authorization: readonly string[], connection: object): CallerKey | undefined {
    const [text = ''] = authorization;
    const known = this.#known.get(connection);
    if (known && authorization.length === 1 && equalsInConstantTime(known.text, text)) return known.key;
    const key = this.#findByDigest(authorization);
    if (key) this.#known.set(connection, { text, key });
    return key;
  }

  #findByDigest(authorization: readonly string[]): CallerKey | undefined {
    const token = parseBearerToken(authorization);
    if (token === undefined) return undefined;
    const digest = hashToken(token);
    return this.#keys.filter((key) => crypto.timingSafeEqual(key.digest, digest))[0];
  }
}

/**
 * Compares two texts in a time that depends only on their lengths: a proxy can send the requests of several callers over one
 * connection, and none of them must learn how much of another's key it has guessed.
 */
function equalsInConstantTime(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let index = 0; index < one.length; index++) difference |= one.charCodeAt(index) ^ other.charCodeAt(index);
  return difference === 0;
}

function parseKeys(lines: readonly string[], where: string): readonly ParsedKey[] {
  const keys: ParsedKey[] = [];
  const lineNumbers = new Map<string, number>();
  for (const [index, line] of lines.entries()) {
    const number = index + 1;
    const key = parseLine(line.trim(), `${where}: line ${number}`);
    if (!key) continue;
    const digest = key.digest.join();
    const first = lineNumbers.get(digest);
    // Only one of them could be found, and the other can have restrictions.
    if (first !== undefined) {
      const problem = `lines ${first} and ${number} have the same key; use another one in one of them`;
      throw new AnyserveError('usage', `${where}: ${problem}`);
    }
    lineNumbers.set(digest, number);
    keys.push(key);
  }
  if (keys.length === 0)
    throw new AnyserveError('usage', `${where}: it contains no key; give lines such as: alice KEY`);
  return keys;
}

/** Parses a line. Returns undefined for one without a key. */
function parseLine(line: string, place: string): ParsedKey | undefined {
  if (line === '' || line.startsWith('#')) return undefined;
  const [, name, key = '', steer, selector] = LINE.exec(line) ?? [];
  if (name === undefined) throw new AnyserveError('usage', `${place} is not NAME KEY [steer] [where=SELECTOR]`);
  if (!isToken(key)) throw new AnyserveError('usage', `${place}: its key has a comma or a non-ASCII character`);
  return { name, digest: hashToken(key), canSteer: steer !== undefined, selector: parseKeySelector(selector, place) };
}

function parseKeySelector(text: string | undefined, place: string): Selector {
  if (text === undefined) return EMPTY_SELECTOR;
  // A script can have left it empty, and the key would not be restricted.
  if (text.trim() === '') throw new AnyserveError('usage', `${place}: its selector is empty; remove "where="`);
  try {
    return parseSelector(text, 'where');
  } catch (error) {
    throw new AnyserveError('usage', `${place}: ${getErrorMessage(error)}`, { cause: error });
  }
}
