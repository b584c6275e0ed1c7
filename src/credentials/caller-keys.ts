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

/** The words of a line that is not empty, apart from the selector. */
const LINE = /^(\S+)\s+(\S+)(?:\s+(steer))?(?:\s+where=(.*))?$/;

/** The keys of the callers of a gateway. It stores only digests of them. */
export class CallerKeys {
  readonly #keys: readonly (CallerKey & { readonly digest: Uint8Array })[];

  /**
   * Creates a set from the lines of a key file: `NAME KEY [steer] [where=SELECTOR]`, the selector up to the end of the line.
   * Ignores empty lines and lines that begin with `#`. Throws `usage` for invalid lines, and if there is no key. The message
   * contains `where`, never a key.
   */
  constructor(lines: readonly string[], where: string) {
    this.#keys = lines.flatMap((line, index) => parseLine(line.trim(), `${where}: line ${index + 1}`));
    if (this.#keys.length === 0)
      throw new AnyserveError('usage', `${where}: it contains no key; give lines such as: alice KEY`);
  }

  /**
   * Finds the key that the `authorization` headers of a request carry; undefined for none. Takes the same time for every key of
   * the same length.
   */
  find(authorization: readonly string[]): CallerKey | undefined {
    const token = parseBearerToken(authorization);
    if (token === undefined) return undefined;
    const digest = hashToken(token);
    return this.#keys.filter((key) => crypto.timingSafeEqual(key.digest, digest))[0];
  }
}

function parseLine(line: string, place: string): (CallerKey & { readonly digest: Uint8Array })[] {
  if (line === '' || line.startsWith('#')) return [];
  const [, name, key = '', steer, selector] = LINE.exec(line) ?? [];
  if (name === undefined) throw new AnyserveError('usage', `${place} is not NAME KEY [steer] [where=SELECTOR]`);
  if (!isToken(key)) throw new AnyserveError('usage', `${place}: its key has a comma or a non-ASCII character`);
  return [{ name, digest: hashToken(key), canSteer: steer !== undefined, selector: parseKeySelector(selector, place) }];
}

function parseKeySelector(text: string | undefined, place: string): Selector {
  if (text === undefined) return EMPTY_SELECTOR;
  try {
    return parseSelector(text, 'where');
  } catch (error) {
    throw new AnyserveError('usage', `${place}: ${getErrorMessage(error)}`, { cause: error });
  }
}
