import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { isToken } from './token-file.js';

/** Keys for model servers, by origin: scheme, host and port. A key is sent to exactly that origin. */
export type UpstreamKeys = ReadonlyMap<string, string>;

/**
 * Parses the lines of a file with keys for model servers: `ORIGIN KEY`. Ignores empty lines and lines that begin with `#`. Throws
 * `usage` for invalid lines, and if there is no key. The message contains `where`, never a key.
 */
export function parseUpstreamKeys(lines: readonly string[], where: string): UpstreamKeys {
  const keys = new Map<string, string>();
  for (const [index, line] of lines.entries()) {
    const [origin = '', key = '', ...rest] = line.trim().split(/\s+/);
    if (origin === '' || origin.startsWith('#')) continue;
    const place = `${where}: line ${index + 1}`;
    if (key === '' || rest.length > 0) throw new AnyserveError('usage', `${place} is not ORIGIN KEY`);
    if (!isToken(key)) throw new AnyserveError('usage', `${place}: its key has a comma or a non-ASCII character`);
    keys.set(parseOrigin(origin, place), key);
  }
  if (keys.size === 0)
    throw new AnyserveError('usage', `${where}: it contains no key; give lines such as: https://gpu7:8000 KEY`);
  return keys;
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
