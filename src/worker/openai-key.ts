import { AnyserveError } from '../core/errors.js';

/** Reads a key for an OpenAI-compatible server. Throws `usage`, without the key, for one that no header can carry. */
export function parseOpenaiKey(text: string, where = 'the key for --openai'): string {
  const key = text.trim();
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  const problem = key === '' ? 'there is no key in it' : 'the key has spaces or characters that no header can carry';
  throw new AnyserveError('usage', `${where}: ${problem}`);
}
