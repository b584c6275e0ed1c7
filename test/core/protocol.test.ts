import { describe, expect, it } from 'vitest';
import { getProtocol, hasProtocol, isProtocol } from '../../src/core/protocol.js';

describe('the protocol of an endpoint', () => {
  it.each(['http://host:8000/v1', 'https://host', 'HTTP://[::1]:80', 'hTTps://h/'])('is http for %s', (endpoint) => {
    expect(getProtocol(endpoint)).toBe('http');
    expect([hasProtocol(endpoint, 'http'), hasProtocol(endpoint, 'grpc')]).toEqual([true, false]);
  });

  it.each(['host:8000', '[::1]:1', 'unix:/a', 'dns:///host:1', 'http:80', 'https:443', 'xhttp://a', '', 'httpx://a'])(
    'is grpc for "%s"',
    (endpoint) => {
      expect(getProtocol(endpoint)).toBe('grpc');
      expect([hasProtocol(endpoint, 'http'), hasProtocol(endpoint, 'grpc')]).toEqual([false, true]);
    },
  );

  it('does not matter to a caller that asks for none', () => {
    expect(['host:1', 'http://host'].map((endpoint) => hasProtocol(endpoint, undefined))).toEqual([true, true]);
  });

  it('has one of two names', () => {
    expect(['grpc', 'http', 'gRPC', 'toString', ''].map(isProtocol)).toEqual([true, true, false, false, false]);
  });
});
