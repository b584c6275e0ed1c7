import { expect, it } from 'vitest';
import { ToolCalls } from '../../src/inference/openai-tool-calls.js';

it.each<[string, (n: number) => object[]]>([
  ['empty ones', (n) => Array.from({ length: 1000 }, (_, at) => ({ index: 1000 * n + at }))],
  ['lists', (n) => [{ index: 0, [`field-${n}`]: Array(50_000).fill(1) }]],
  ['arguments', () => [{ index: 0, function: { arguments: 'x'.repeat(100_000) } }]],
])('fails for endless tool calls: %s', (_what, deltas) => {
  const calls = new ToolCalls();
  expect(() => {
    for (let n = 0; n < 300; n++) calls.add(deltas(n));
  }).toThrow('its tool calls have more than 16777216 characters');
});
