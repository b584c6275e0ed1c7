import { describe, expect, it } from 'vitest';
import { parseUpstreamKeys } from '../../src/credentials/upstream-keys.js';

const parse = (...lines: string[]) => parseUpstreamKeys(lines, '/etc/keys');

describe('a file with keys for model servers', () => {
  it('has a key for each origin, and can have comments', () => {
    const keys = parse('# engines', '', 'https://gpu7:8000 one', ' http://gpu8:8000/\ttwo ');
    expect([...keys]).toEqual([
      ['https://gpu7:8000', 'one'],
      ['http://gpu8:8000', 'two'],
    ]);
  });

  it.each([
    ['a key only', ['secret-1'], 'line 1 is not ORIGIN KEY'],
    ['three words', ['https://gpu7 secret-1 secret-2'], 'line 1 is not ORIGIN KEY'],
    ['a comma', ['', 'https://gpu7 secret-1,secret-2'], 'line 2: its key has a comma or a non-ASCII character'],
    [
      'a path',
      ['https://gpu7/v1 secret-1'],
      'line 1: "https://gpu7/v1" is not an origin; give one such as https://gpu7:8000, without a path',
    ],
    [
      'two keys of an origin, in any form',
      ['https://GPU7:443 secret-1', 'https://gpu7/ secret-2'],
      'line 2: https://gpu7 has a key already; give one for each origin',
    ],
    ['no key', ['# none'], 'it contains no key; give lines such as: https://gpu7:8000 KEY'],
  ])('is refused with %s, in a message without the key', (_what, lines, problem) => {
    expect(() => parse(...lines)).toThrow(`/etc/keys: ${problem}`);
    expect(() => parse(...lines)).not.toThrow(/secret/);
  });
});
