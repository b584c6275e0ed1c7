import { describe, expect, it } from 'vitest';
import {
  findEndpointProblem,
  getEndpointWarning,
  parseAdvertised,
  parseAdvertisedGrpc,
  parseDialable,
  toSocketAddress,
} from '../../src/core/endpoint.js';
import { isLoopback, parseHost } from '../../src/core/host.js';
import { asEndpoint } from '../../src/core/ids.js';

const DIALABLE = [
  'localhost:50051',
  'LOCALHOST:1',
  '10.0.0.1:1',
  '127.1:5',
  '0x7f.1:5',
  '2130706433:5',
  '[::1]:65535',
  '[fe80::1%eth0]:1',
  '[::ffff:127.0.0.1]:1',
  'dns:host:80',
  'dns:///host:80',
  'dns:///[::1]:80',
  'dns:80',
  'ipv4:1.2.3.4:5',
  'ipv6:[::1]:5',
  'unix:/run/a.sock',
  'unix:80',
  'a_b.c-d:9',
  'web.1:80',
  'host.:80',
  'größe.test:1',
  'api:8080',
];
const URLS = ['http://host:80', 'https://host', 'HTTP://host/v1', 'http://127.0.0.1:8000/v1', 'http://[::1]:8000'];
const WITHOUT_PORT = ['localhost', 'e', '[::1]', '10.0.0.1', 'dns:///host', 'größe'];
const UNSPECIFIED = [
  '0.0.0.0:50051',
  '0:5',
  '000.000.000.000:1',
  '00.0.0.0:1',
  '0x0:5',
  '0X0:5',
  '0x00000000:5',
  '0.0:5',
  '0x0.0:5',
  '0.:5',
  '０.０.０.０:5',
  '0.0.0.0',
  '[::]:50051',
  '[0:0:0:0:0:0:0:0]:1',
  '[0::0]:1',
  '[::0.0.0.0]:1',
  '[::%eth0]:1',
  '[::ffff:0:0]:5',
  '[::ffff:0.0.0.0]:5',
  '[::FFFF:0000:0000]:5',
  'dns:0:5',
  'dns:///0x0:5',
  'dns:///[::]:5',
  'ipv4:0.0.0.0:5',
  'ipv6:[::]:5',
  'http://0:5',
  'http://0.0.0.0:5/v1',
  'https://[::]',
];
const NOBODY_CAN_DIAL = [
  '',
  ':1',
  'host:',
  'host:0',
  'host:00',
  'host:00000',
  'host:-1',
  'host:+1',
  'host:1.5',
  'host:0x50',
  'host:٥',
  'host:65536',
  'host:99999',
  'host:100000',
  '[::1]:0',
  'dns:///host:0',
  'ipv4:1.2.3.4:0',
  'http://host:0',
  'http://host:99999',
  'http://',
  'http:///path',
  'http://user:secret@host:80',
  'http://host:80/a b',
  'http:\\\\host',
  'a b:80',
  'host:80\n',
  '\thost:80',
  'host\u0000:80',
  'host:80/path',
  'user@host:80',
  '256.256.256.256:5',
  '1.2.3.4.5:80',
  '[::1',
  '[1.2.3.4]:5',
  '[::g]:5',
  '[:::]:5',
  'ipv4:1.2.3.4:5,6.7.8.9:10',
  'ipv4:host:5',
  'ipv4:[::1]:5',
  'ipv6:1.2.3.4:5',
  'host:1,other:2',
  'xds:///x',
  'ftp://host:21',
  'dns://10.0.0.1/host:80',
  '::1',
  '::1:80',
  'unix:',
  'unix:/a b',
  'unix-abstract:x',
  'vsock:1:2',
];

describe('an endpoint', () => {
  it.each(DIALABLE)('can be dialed and registered: %s', (text) => {
    expect(parseDialable(text)).toBe(text);
    expect(parseAdvertisedGrpc(text)).toBe(text);
    expect(findEndpointProblem(text)).toBeUndefined();
  });

  it.each(URLS)('can be registered but not dialed over gRPC: %s', (text) => {
    expect(findEndpointProblem(text)).toBeUndefined();
    expect(parseAdvertised(text)).toBe(text);
    expect(() => parseDialable(text)).toThrow('is the URL of an HTTP server');
    expect(() => parseAdvertisedGrpc(text)).toThrow('is the URL of an HTTP server');
  });

  it.each(WITHOUT_PORT)(
    'is accepted with a warning, but cannot be dialed or advertised by our own commands: %s',
    (text) => {
      expect(findEndpointProblem(text)).toBeUndefined();
      expect(getEndpointWarning(asEndpoint(text), '127.0.0.1')).toContain('it has no port');
      expect(() => parseDialable(text)).toThrow('is not an endpoint; give HOST:PORT');
      expect(() => parseAdvertised(text)).toThrow('it has no port; give HOST:PORT');
      expect(() => toSocketAddress(asEndpoint(text))).toThrow('has no port');
    },
  );

  it.each(UNSPECIFIED)('is rejected as an unspecified address: %s', (text) => {
    expect(findEndpointProblem(text)).toContain('give a host name or one address');
    expect(() => parseAdvertised(text)).toThrow('give a host name or one address');
  });

  it.each(NOBODY_CAN_DIAL)('is rejected as invalid: %j', (text) => {
    expect(findEndpointProblem(text)).toContain('callers cannot dial it');
    expect(() => parseDialable(text)).toThrow('is not an endpoint; give HOST:PORT');
    expect(() => parseAdvertised(text)).toThrow('callers cannot dial it');
  });
});

describe('the socket address of an endpoint', () => {
  it.each([
    ['localhost:50051', { host: 'localhost', port: 50051 }],
    ['[::1]:1', { host: '::1', port: 1 }],
    ['dns:///host:80', { host: 'host', port: 80 }],
    ['dns:80', { host: 'dns', port: 80 }],
    ['ipv4:1.2.3.4:5', { host: '1.2.3.4', port: 5 }],
    ['ipv6:[::1]:5', { host: '::1', port: 5 }],
    ['unix:/run/a.sock', { path: '/run/a.sock' }],
    ['unix:80', { path: '80' }],
    ['unix:0', { path: '0' }],
  ])('%s is %j', (text, address) => {
    expect(toSocketAddress(parseDialable(text))).toEqual(address);
  });

  it.each([
    ['http://host', { host: 'host', port: 80 }],
    ['https://[::1]/v1', { host: '::1', port: 443 }],
  ])('%s is %j', (text, address) => {
    expect(toSocketAddress(asEndpoint(text))).toEqual(address);
  });
});

describe('a host', () => {
  it.each([
    ['Host.Test.', { name: 'host.test', kind: 'name' }],
    ['127.1', { name: '127.0.0.1', kind: 'IPv4' }],
    ['0x7f000001', { name: '127.0.0.1', kind: 'IPv4' }],
    ['017700000001', { name: '127.0.0.1', kind: 'IPv4' }],
    ['[::FFFF:7f00:1]', { name: '127.0.0.1', kind: 'IPv4' }],
    ['[2001:DB8:0::1]', { name: '2001:db8::1', kind: 'IPv6' }],
    ['web.1', { name: 'web.1', kind: 'name' }],
    ['', undefined],
    ['::1', undefined],
    ['a:1', undefined],
    ['a/b', undefined],
    ['a@b', undefined],
    ['a%2e', undefined],
    ['300.1.1.1', undefined],
  ])('%j is %j', (text, host) => {
    expect(parseHost(text)).toEqual(host);
  });
});

describe('a loopback address', () => {
  it.each([
    'localhost',
    'LOCALHOST',
    'localhost.',
    'app.localhost',
    'localhost.localdomain',
    '127.0.0.1',
    '127.9.9.9',
    '127.1',
    '2130706433',
    '0x7f.1',
    '::1',
    '[::1]',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
  ])('is %s', (host) => {
    expect(isLoopback(host)).toBe(true);
  });

  it.each(['', '0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.test', 'localhost.evil.test', 'x127.0.0.1', '1.127.0.0.1'])(
    'is not %j',
    (host) => {
      expect(isLoopback(host)).toBe(false);
    },
  );

  it.each([
    'localhost:1',
    'localhost.:1',
    'LOCALHOST:1',
    '127.0.0.1:1',
    '127.1:1',
    '2130706433:1',
    '0x7f.1:1',
    '[::1]:1',
    '[::ffff:127.0.0.1]:1',
    'dns:///localhost:1',
    'ipv4:127.0.0.1:1',
    'http://localhost:8000/v1',
    'localhost',
    'unix:/a',
  ])('misleads callers as the endpoint %s that another machine has registered', (endpoint) => {
    expect(getEndpointWarning(asEndpoint(endpoint), '10.0.0.1')).toContain('their own machine');
    expect(getEndpointWarning(asEndpoint(endpoint), '127.0.0.1') ?? '').not.toContain('their own machine');
    expect(getEndpointWarning(asEndpoint('10.0.0.1:127'), '10.0.0.1')).toBeUndefined();
  });
});
