import { AnyserveError } from './errors.js';

/** User and password for a store that is reached over a network. */
export interface StoreLogin {
  readonly user: string;
  readonly password: string;
}

const MAX_BYTES = 1024;

/**
 * Parses `USER:PASSWORD`, the content of a file. The password can contain colons. Throws `usage` for anything else. The message
 * contains `where`, never a part of the password.
 */
export function parseStoreLogin(text: string, where: string): StoreLogin {
  const line = text.replace(/\r?\n$/, '');
  const end = line.indexOf(':');
  if (end > 0 && end < line.length - 1 && line.length <= MAX_BYTES && !line.includes('\n')) {
    return { user: line.slice(0, end), password: line.slice(end + 1) };
  }
  throw new AnyserveError('usage', `${where}: it is not one line USER:PASSWORD`);
}
