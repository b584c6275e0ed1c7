import { expect, it } from 'vitest';
import { formatStack } from '../../src/core/stack-trace.js';

it('a stack shows the causes, whatever they are', () => {
  const error = new Error('outer', { cause: new Error('inner', { cause: 'a text' }) });
  const stack = formatStack(error);
  expect(stack).toMatch(/^Error: outer\n\s+at .*\ncaused by Error: inner\n.*\ncaused by a text$/s);
  expect(formatStack('only a text')).toBe('only a text');
});

it('a stack ends though the causes are a ring', () => {
  const error = new Error('ring');
  error.cause = error;
  expect(formatStack(error).split('caused by').length).toBe(9);
});
