import { expect, it } from 'vitest';
import { parseStoreLogin } from '../../src/core/store-login.js';

it('reads a user and a password, which can contain colons', () => {
  expect(parseStoreLogin('anyserve:a:b\n', 'f')).toEqual({ user: 'anyserve', password: 'a:b' });
});

it.each(['', 'user', 'user:', ':secret', 'user:secret\nmore:secret', `user:${'secret'.repeat(200)}`])(
  'refuses %j without showing it',
  (text) => {
    expect(() => parseStoreLogin(text, '--store-login-file f')).toThrow(
      /^--store-login-file f: it is not one line USER:PASSWORD$/,
    );
  },
);
