import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.js';
import { readRequestParameters } from '../../src/cli/request-parameters.js';

async function parseParameters(...words: string[]): Promise<object> {
  const parsed = await parseArguments(['infer', 'chat', ...words], {}, 80);
  if (parsed.kind !== 'run') throw new Error('not a command');
  return { ...readRequestParameters(parsed.args) };
}

describe('--stop', () => {
  it.each<[string[], string]>([
    [['END'], 'END'],
    [['a', 'b'], '["a","b"]'],
    [['{"a":1}'], '{"a":1}'],
    // The receiver reads a JSON array as several stop sequences.
    [['["a"]'], '["[\\"a\\"]"]'],
    [[' [1]'], '[" [1]"]'],
    [['['], '["["]'],
  ])('sends any value as text: %j', async (texts, stop) => {
    expect(await parseParameters(...texts.map((text) => `--stop=${text}`))).toEqual({ stop });
  });
});
