import { describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.js';
import { readRequestParameters } from '../../src/cli/request-parameters.js';

async function parametersOf(...words: string[]): Promise<object> {
  const parsed = await parseArguments(['infer', 'chat', ...words], {}, 80);
  if (parsed.kind !== 'run') throw new Error('it is no command');
  return { ...readRequestParameters(parsed.args) };
}

describe('--stop', () => {
  it.each<[string[], string]>([
    [['END'], 'END'],
    [['a', 'b'], '["a","b"]'],
    [['{"a":1}'], '{"a":1}'],
    // Whoever reads it takes an array for several texts.
    [['["a"]'], '["[\\"a\\"]"]'],
    [[' [1]'], '[" [1]"]'],
    [['['], '["["]'],
  ])('is a text, whatever it looks like: %j', async (texts, stop) => {
    expect(await parametersOf(...texts.map((text) => `--stop=${text}`))).toEqual({ stop });
  });
});
