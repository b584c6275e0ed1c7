import { describe, expect, it } from 'vitest';
import { findShortTokens, parseClientToken } from '../../src/credentials/token-file.js';
import { hashToken, parseBearerToken, TokenSet } from '../../src/credentials/token-set.js';

describe('a token set', () => {
  const tokens = new TokenSet(['# rotated in May', '', '  first  ', 'second gpu-', 'second cpu-', 'first-longer x']);

  it('finds the id prefixes of each token', () => {
    expect(tokens.findGrant(hashToken('first'))?.prefixes).toEqual(['']);
    expect(tokens.findGrant(hashToken('second'))?.prefixes).toEqual(['gpu-', 'cpu-']);
  });

  it.each(['', 'f', 'firs', 'first ', ' first', 'FIRST', 'first-', '#', '# rotated in May', 'gpu-', 'second gpu-'])(
    'does not contain %j',
    (shown) => {
      expect(tokens.findGrant(hashToken(shown))).toBeUndefined();
    },
  );

  it.each([
    [[], 'it contains no token'],
    [['', '# s3cret'], 'it contains no token'],
    [['one', 's3cret a b'], 'line 2 has more than a token and a prefix'],
    [['s3crét'], 'the token in line 1 has a comma or a non-ASCII character; generate one with "openssl rand -hex 32"'],
    [['s3cr,et'], 'the token in line 1 has a comma or a non-ASCII character; generate one with "openssl rand -hex 32"'],
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

describe('a line with pairs', () => {
  const grant = (lines: readonly string[], token = 'team-a') => new TokenSet(lines).findGrant(hashToken(token));

  it('limits a token to the ids with a prefix, and to the capability objects with the pairs', () => {
    expect(grant(['team-a prefix=a- tenant=a zone=eu=1'])).toEqual({
      prefixes: ['a-'],
      scope: { pairs: ['tenant', 'a', 'zone', 'eu=1'], key: '[["tenant","a"],["zone","eu=1"]]' },
    });
  });

  it('has the same scope whatever the order of the pairs, and is as before without pairs', () => {
    expect(grant(['team-a b=2 prefix=a- a=1'])?.scope).toEqual(grant(['team-a a=1 b=2 prefix=a-'])?.scope);
    expect(grant(['team-a prefix=a-'])).toEqual(grant(['team-a a-']));
    expect(new TokenSet(['x', 'y prefix=y-']).scopes).toEqual([]);
  });

  it('can be repeated with other prefixes and the same pairs', () => {
    expect(grant(['team-a prefix=a- t=1', 'team-a prefix=b- t=1'])?.prefixes).toEqual(['a-', 'b-']);
  });

  it.each([
    [['team-a tenant=a'], 'line 1 has pairs without prefix=PREFIX; write it as TOKEN prefix=PREFIX KEY=VALUE'],
    [['team-a prefix= tenant=a'], 'line 1 has a word that is not KEY=VALUE; write it as TOKEN prefix=PREFIX KEY=VALUE'],
    [['team-a prefix=a- tenant'], 'line 1 has a word that is not KEY=VALUE; write it as TOKEN prefix=PREFIX KEY=VALUE'],
    [['team-a prefix=a- =x'], 'line 1 has a word that is not KEY=VALUE; write it as TOKEN prefix=PREFIX KEY=VALUE'],
    [
      ['team-a prefix=a- tenant=a tenant=b'],
      'line 1 has the same key twice; write it as TOKEN prefix=PREFIX KEY=VALUE, with each key once',
    ],
    [
      ['team-a prefix=a-,tenant=a'],
      'line 1 has a prefix with "="; write it as TOKEN prefix=PREFIX KEY=VALUE, with spaces between',
    ],
    [['team-a prefix=a- tenant=m\ufffdnchen'], 'line 1 has a character that is not UTF-8; save the file as UTF-8'],
    [['team-a a- tenant=a'], 'line 1 has more than a token and a prefix; write pairs as TOKEN prefix=PREFIX KEY=VALUE'],
    [
      ['team-a prefix=a- t=1', 'x', 'team-a prefix=a- t=2'],
      'lines 1 and 3 have the same token with different pairs; use another token in one of them',
    ],
    [
      ['team-a', 'team-a prefix=a- t=2'],
      'lines 1 and 2 have the same token with different pairs; use another token in one of them',
    ],
  ])('cannot be %j', (lines, problem) => {
    expect(() => new TokenSet(lines, '--register-token-file: tokens')).toThrow(
      `--register-token-file: tokens: ${problem}`,
    );
  });
});
