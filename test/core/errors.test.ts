import { describe, expect, it } from 'vitest';
import { AnyserveError, formatStack, getErrorMessage, toErrorCode, toHttpStatus } from '../../src/core/errors.js';

describe('errors', () => {
  it('map each code to HTTP, gRPC and the shell', () => {
    const error = new AnyserveError('no_match', 'none');
    expect([toHttpStatus(error.code), error.grpcStatus, error.exitCode]).toEqual([404, 5, 3]);
  });

  it('have one code for each canonical gRPC status', () => {
    const codes = Array.from({ length: 16 }, (_, at) => toErrorCode(at + 1));
    expect(new Set(codes).size).toBe(16);
    for (const [at, code] of codes.entries()) expect(new AnyserveError(code, '').grpcStatus).toBe(at + 1);
    expect(toErrorCode(99)).toBe('unknown');
  });

  it('are not final if another replica can succeed, and a repetition is safe', () => {
    const retried = Array.from({ length: 16 }, (_, at) => toErrorCode(at + 1)).filter(
      (code) => !new AnyserveError(code, '').isFinal,
    );
    expect(retried.sort()).toEqual(['internal', 'not_found', 'resource_exhausted', 'unavailable', 'unimplemented']);
  });

  it('have one-line messages', () => {
    expect(getErrorMessage(new Error('a\n  b\nc'))).toBe('a b c');
    expect(getErrorMessage(new TypeError())).toBe('TypeError');
    expect(getErrorMessage('text')).toBe('text');
    expect(getErrorMessage(undefined)).toBe('undefined');
  });
});

describe('a stack', () => {
  it('shows causes of any type', () => {
    const error = new Error('outer', { cause: new Error('inner', { cause: 'a text' }) });
    const stack = formatStack(error);
    expect(stack).toMatch(/^Error: outer\n\s+at .*\ncaused by Error: inner\n.*\ncaused by a text$/s);
    expect(formatStack('only a text')).toBe('only a text');
  });

  it('ends if the chain of causes is circular', () => {
    const error = new Error('ring');
    error.cause = error;
    expect(formatStack(error).split('caused by').length).toBe(9);
  });
});
