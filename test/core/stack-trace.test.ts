import { expect, it } from 'vitest';
import { formatStack } from '../../src/core/stack-trace.js';

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
