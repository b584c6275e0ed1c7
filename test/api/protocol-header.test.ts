import { describe, expect, it } from 'vitest';
import { parseProtocolHeader, readProtocolHeader } from '../../src/api/protocol-header.js';

describe('the header of a protocol', () => {
  it.each([[['grpc']], [['grpc', 'grpc']], [['grpc, grpc']], [[' grpc ']]])('can be %j', (values) => {
    expect(parseProtocolHeader(values)).toBe('grpc');
  });

  it('is optional', () => {
    expect(parseProtocolHeader([])).toBeUndefined();
    expect([undefined, 'http', 'applied', ['http']].map(readProtocolHeader)).toEqual([
      undefined,
      'http',
      undefined,
      undefined,
    ]);
  });

  it.each([
    [[''], '""'],
    [['gRPC'], '"gRPC"'],
    [['grpc', 'http'], '"grpc, http"'],
    [['grpc,http'], '"grpc,http"'],
    [['grpc,'], '"grpc,"'],
    [['toString'], '"toString"'],
  ])('can not be %j', (values, text) => {
    const message = `x-anyserve-protocol: ${text} is not a protocol; give grpc or http`;
    expect(() => parseProtocolHeader(values)).toThrow(message);
  });
});
