import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import { trimTrailingSlashes } from '../../http/request-head.js';

/** Parses the base URL of an OpenAI-compatible server. Throws `usage`; the message never contains a password. */
export function parseOpenaiUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url?.username || url?.password) {
    throw new AnyserveError(
      'usage',
      `the URL of ${url.host} contains a user name or password, which other users can see; give a key in ANYSERVE_OPENAI_KEY or with --openai-key-file`,
    );
  }
  if (isHttp && url.search === '' && url.hash === '') return trimTrailingSlashes(text);
  throw new AnyserveError(
    'usage',
    `${quote(text)} is not a base URL of an OpenAI-compatible server; give one like http://localhost:8000/v1`,
  );
}

/**
 * Parses a key for an OpenAI-compatible server. Throws `usage` for a key that is not valid in a header; the message doesn't
 * contain the key.
 */
export function parseOpenaiKey(text: string, where = 'the key for --openai'): string {
  const key = text.trim();
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  const problem = key === '' ? 'there is no key in it' : 'the key has spaces or characters that no header can carry';
  throw new AnyserveError('usage', `${where}: ${problem}`);
}
