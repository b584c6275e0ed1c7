import { expect, it } from 'vitest';
import { stackOf } from '../../src/core/stack.js';

it('a stack shows the causes, whatever they are', () => {
  const error = new Error('outer', { cause: new Error('inner', { cause: 'a text' }) });
  const stack = stackOf(error);
  expect(stack).toMatch(/^Error: outer\n\s+at .*\ncaused by Error: inner\n.*\ncaused by a text$/s);
  expect(stackOf('only a text')).toBe('only a text');
});

it('a stack ends though the causes are a ring', () => {
  const error = new Error('ring');
  error.cause = error;
  expect(stackOf(error).split('caused by').length).toBe(9);
});
