import { describe, expect, it } from 'vitest';
import { checkOptionNames } from '../../src/core/option-names.js';
import { checkOptionTypes, type OptionTypes } from '../../src/core/option-types.js';

interface Options {
  readonly path: string;
  readonly name?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

const TYPES: OptionTypes<Options> = { path: 'string', name: 'string', timeoutMs: 'number' };

describe('a table of option types', () => {
  it('does not compile without every option, or with another one', () => {
    // @ts-expect-error: timeoutMs is missing
    const incomplete: OptionTypes<Options> = { path: 'string', name: 'string' };
    // @ts-expect-error: size is not an option
    const excessive: OptionTypes<Options> = { ...incomplete, timeoutMs: 'number', size: 'number' };
    expect(Object.keys(excessive)).toEqual(['path', 'name', 'timeoutMs', 'size']);
  });

  it('leaves the check of numbers to the check of their range', () => {
    checkOptionTypes('open', { path: '', timeoutMs: 'long' } as never, TYPES, ['path']);
  });

  it('applies to inherited options, whose names are not checked', () => {
    const inherited = Object.create({ path: 5, size: 1 });
    expect(() => checkOptionTypes('open', inherited, TYPES)).toThrow('option path: 5 is not a string');
  });

  it('is not affected by an extended Object.prototype', () => {
    Object.assign(Object.prototype, { extension: 1 });
    try {
      checkOptionTypes('open', { path: 'x' }, TYPES, ['path']);
    } finally {
      delete (Object.prototype as { extension?: number }).extension;
    }
  });
});

describe('the name of an unknown option', () => {
  const known = { port: 0, portRange: 0, timeoutMs: 0, idleTimeoutMs: 0, tls: 0 };
  const getMessage = (name: string): string => {
    try {
      checkOptionNames('listen', { [name]: null }, known);
    } catch (error) {
      return (error as Error).message;
    }
    return expect.unreachable();
  };

  it.each([
    ['prot', 'port'],
    ['portRa', 'portRange'],
    ['por', 'port'],
    ['timeout', 'timeoutMs'],
    ['TIMEOUTMS', 'timeoutMs'],
    ['idleTimeout', 'idleTimeoutMs'],
    ['tsl', 'tls'],
  ])('%s leads to the closest known one: %s', (unknown, suggested) => {
    expect(getMessage(unknown)).toBe(`option ${unknown} is unknown to listen; did you mean ${suggested}?`);
  });

  it('leads to the list of known ones if none is similar', () => {
    const list = 'port, portRange, timeoutMs, idleTimeoutMs, tls';
    expect(getMessage('host')).toBe(`option host is unknown to listen; its options: ${list}`);
    expect(getMessage('a b')).toBe(`option "a b" is unknown to listen; its options: ${list}`);
  });
});
