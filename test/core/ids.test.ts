import { describe, expect, it } from 'vitest';
import {
  addressOf,
  asEndpoint,
  endpointProblem,
  isLongerThan,
  parseAdvertised,
  parseDialable,
} from '../../src/core/ids.js';
import { isLoopback, isMisleading } from '../../src/core/loopback.js';

describe('an endpoint', () => {
  it.each([
    'localhost:50051',
    '10.0.0.1:1',
    '[::1]:65535',
    'dns:host:80',
    'dns:///host:80',
    'unix:/run/a.sock',
    'a_b.c-d:9',
  ])('can dial %s', (text) => {
    expect(parseDialable(text)).toBe(text);
  });

  it.each([
    '',
    'localhost',
    ':50051',
    'host:0',
    'host:65536',
    'host:99999',
    'http://host:80',
    '::1:80',
    'a b:80',
    'xds:///x',
    'ipv4:1.2.3.4:5',
    'unix:',
    'unix:/a\u0000b',
  ])('refuses to dial %j', (text) => {
    expect(() => parseDialable(text)).toThrow('is not an endpoint; give HOST:PORT');
  });

  it.each(['0.0.0.0:50051', '0:5', '000.000.000.000:1', '[::]:50051', '[0:0:0:0:0:0:0:0]:1'])(
    'refuses to tell others %s',
    (text) => {
      expect(() => parseAdvertised(text)).toThrow('give a host name or one address');
      expect(endpointProblem(text)).toContain('give a host name or one address');
    },
  );

  it.each([
    'localhost:50051',
    '[::1]:65535',
    'unix:/run/a.sock',
    'dns:///host:80',
    'localhost',
    'e',
    '[::1]',
    'größe.test:1',
  ])('can be registered as %s', (text) => {
    expect(endpointProblem(text)).toBeUndefined();
  });

  it.each([
    '',
    ':1',
    'host:',
    'host:0',
    'host:99999',
    'a b:80',
    'host:80\n',
    'host\u0000:80',
    'http://host:80',
    'https://host',
    'host:80/path',
    'user@host:80',
    'ipv4:1.2.3.4:5,6.7.8.9:10',
    'ipv6:[::1]:5',
    'host:1,other:2',
    'xds:///x',
    'dns://10.0.0.1/host:80',
    'dns:host',
    '::1:80',
    'unix:',
    'unix:/a b',
    'unix-abstract:x',
    'vsock:1:2',
  ])('cannot be registered as %j', (text) => {
    expect(endpointProblem(text)).toContain('nobody can dial it');
  });
});

describe('the address of an endpoint', () => {
  it.each([
    ['localhost:50051', { host: 'localhost', port: 50051 }],
    ['[::1]:1', { host: '::1', port: 1 }],
    ['dns:///host:80', { host: 'host', port: 80 }],
    ['unix:/run/a.sock', { path: '/run/a.sock' }],
    ['unix:80', { path: '80' }],
    ['unix:0', { path: '0' }],
  ])('%s is %j', (text, address) => {
    expect(addressOf(parseDialable(text))).toEqual(address);
  });
});

describe('a loopback address', () => {
  it.each(['localhost', 'LOCALHOST', '127.0.0.1', '127.9.9.9', '::1', '[::1]', '::ffff:127.0.0.1'])('is %s', (host) => {
    expect(isLoopback(host)).toBe(true);
  });

  it.each(['', '0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.test', 'localhost.evil.test', 'x127.0.0.1', '1.127.0.0.1'])(
    'is not %j',
    (host) => {
      expect(isLoopback(host)).toBe(false);
    },
  );

  it.each(['localhost:1', '127.0.0.1:1', '[::1]:1', 'dns:///localhost:1', 'localhost', 'unix:/a'])(
    'misleads callers as the endpoint %s that another machine has registered',
    (endpoint) => {
      expect(isMisleading(asEndpoint(endpoint), '10.0.0.1')).toBe(true);
      expect(isMisleading(asEndpoint(endpoint), '127.0.0.1')).toBe(false);
      expect(isMisleading(asEndpoint('10.0.0.1:127'), '10.0.0.1')).toBe(false);
    },
  );
});

it('the length of a text is counted in UTF-8 bytes', () => {
  for (const character of ['a', 'é', '€', '😀']) {
    const text = character.repeat(30);
    const bytes = Buffer.byteLength(text);
    expect([isLongerThan(bytes - 1, text), isLongerThan(bytes, text)]).toEqual([true, false]);
  }
});
