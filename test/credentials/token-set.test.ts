import { describe, expect, it } from 'vitest';
import { findShortTokens, parseClientToken } from '../../src/credentials/token-file.js';
import { hashToken, parseBearerToken, TokenSet } from '../../src/credentials/token-set.js';

describe('a token set', () => {
  const tokens = new TokenSet(['# rotated in May', '', '  first  ', 'second gpu-', 'second cpu-', 'first-longer x']);

  it('finds the id prefixes of each token', () => {
    expect(tokens.findPrefixes(hashToken('first'))).toEqual(['']);
    expect(tokens.findPrefixes(hashToken('second'))).toEqual(['gpu-', 'cpu-']);
  });

  it.each(['', 'f', 'firs', 'first ', ' first', 'FIRST', 'first-', '#', '# rotated in May', 'gpu-', 'second gpu-'])(
    'does not contain %j',
    (shown) => {
      expect(tokens.findPrefixes(hashToken(shown))).toEqual([]);
    },
  );

  it.each([
    [[], 'it contains no token'],
    [['', '# s3cret'], 'it contains no token'],
    [['one', 's3cret a b'], 'line 2 has more than a token and a prefix'],
    [['s3crét'], 'the token in line 1 has a comma or a non-ASCII character'],
    [['s3cr,et'], 'the token in line 1 has a comma or a non-ASCII character'],
  ])('rejects %j with the line number, but without a token', (lines, problem) => {
    const failure = (() => new TokenSet(lines, '--read-token-file t')) as () => unknown;
    expect(failure).toThrow(`--read-token-file t: ${problem}`);
    expect(failure).not.toThrow(/s3cr/);
  });

  it('does not reveal its tokens', () => {
    expect(JSON.stringify(tokens)).not.toContain('first');
  });
});

describe('parseClientToken', () => {
  it('returns the first token of a file, without its prefix', () => {
    expect(parseClientToken('# mine\n\nabc gpu-\nother\n', 'f')).toBe('abc');
    expect(() => parseClientToken('\n', '--token-file f')).toThrow('--token-file f: it contains no token');
  });
});

describe('short tokens', () => {
  it('are counted, but not shown', () => {
    expect(findShortTokens(['0123456789abcdef', '0123456789abcdef0 a'], 'f')).toBeUndefined();
    expect(findShortTokens(['s3cret', '0123456789abcdef'], '--register-token-file f')).toBe(
      '--register-token-file f: 1 token is shorter than 16 characters and can be guessed; use "openssl rand -hex 32"',
    );
    expect(findShortTokens(['s3cret', '0123456789abcde'], 'f')).toMatch(/^f: 2 tokens are shorter/);
  });
});

describe('an authorization header', () => {
  it.each([
    [['Bearer abc'], 'abc'],
    [['bearer abc'], 'abc'],
    [['BEARER   abc'], 'abc'],
    [[], undefined],
    [[''], undefined],
    [['abc'], undefined],
    [['Bearer'], undefined],
    [['Bearer '], undefined],
    [['Bearer a b'], undefined],
    [['Bearer abc '], undefined],
    [['Bearer abc, Bearer abc'], undefined],
    [['Bearerabc'], undefined],
    [['Basic abc'], undefined],
    [['Bearer abc', 'Bearer abc'], undefined],
  ])('%j has the token %j', (headers, token) => {
    expect(parseBearerToken(headers)).toBe(token);
  });
});
