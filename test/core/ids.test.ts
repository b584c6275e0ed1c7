import { describe, expect, it } from 'vitest';
import { parseAdvertised, parseDialable } from '../../src/core/ids.js';

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
  ])('refuses to dial %j', (text) => {
    expect(() => parseDialable(text)).toThrow('is not an endpoint; give HOST:PORT');
  });

  it.each(['0.0.0.0:50051', '0:5', '000.000.000.000:1', '[::]:50051', '[0:0:0:0:0:0:0:0]:1'])(
    'refuses to tell others %s',
    (text) => {
      expect(() => parseAdvertised(text)).toThrow('give a host name or one address');
    },
  );
});
