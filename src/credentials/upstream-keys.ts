import { AnyserveError } from '../core/errors.js';
import { toGetter, type ValueOrGetter } from '../core/options.js';
import { quote } from '../core/quoting.js';
import { isToken } from './token-file.js';

/** Keys for model servers, by origin: scheme, host and port. A key is sent to exactly that origin. */
export type UpstreamKeys = ReadonlyMap<string, string>;

/**
 * Parses the lines of a file with keys for model servers: `ORIGIN KEY`. Ignores empty lines and lines that begin with `#`. Throws
 * `usage` for invalid lines, for a second key of an origin, and if there is no key. The message contains `where`, never a key.
 */
export function parseUpstreamKeys(lines: readonly string[], where: string): UpstreamKeys {
  const keys = new Map<string, string>();
  for (const [index, line] of lines.entries()) {
    const [origin = '', key = '', ...rest] = line.trim().split(/\s+/);
    if (origin === '' || origin.startsWith('#')) continue;
    const place = `${where}: line ${index + 1}`;
    if (key === '' || rest.length > 0) throw new AnyserveError('usage', `${place} is not ORIGIN KEY`);
    if (!isToken(key)) throw new AnyserveError('usage', `${place}: its key has a comma or a non-ASCII character`);
    const parsed = parseOrigin(origin, place);
    if (keys.has(parsed))
      throw new AnyserveError('usage', `${place}: ${parsed} has a key already; give one for each origin`);
    keys.set(parsed, key);
  }
  if (keys.size === 0)
    throw new AnyserveError('usage', `${where}: it contains no key; give lines such as: https://gpu7:8000 KEY`);
  return keys;
}

/** Finds the keys of a program, of which some can change. */
export interface KeyLookup {
  has(origin: string): boolean;
  /** Returns the current key; undefined if there is none. Throws `usage` for a key that can't be sent. */
  get(origin: string): string | undefined;
}

/** Creates the lookup of keys by origin. Throws `usage` for invalid ones. Messages begin with `place`, and never contain a key. */
export function createKeyLookup(keys: Readonly<Record<string, ValueOrGetter<string>>>, place: string): KeyLookup {
  const getters = new Map<string, () => string>();
  for (const [origin, key] of Object.entries(keys)) {
    const getKey = toGetter(key) as () => string;
    const get = (): string => checkKey(getKey(), `${place}: the key of ${origin}`);
    if (typeof key === 'string') get();
    getters.set(parseOrigin(origin, place), get);
  }
  return { has: (origin) => getters.has(origin), get: (origin) => getters.get(origin)?.() };
}

function checkKey(key: unknown, subject: string): string {
  if (typeof key === 'string' && isToken(key)) return key;
  throw new AnyserveError('usage', `${subject} is empty, or has a space, a comma or a non-ASCII character`);
}

/** Parses an origin: the URL of a server, without a path. Throws `usage`. */
export function parseOrigin(text: string, place: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url && isHttp && url.href === `${url.origin}/`) return url.origin;
  throw new AnyserveError(
    'usage',
    `${place}: ${quote(text)} is not an origin; give one such as https://gpu7:8000, without a path`,
  );
}
