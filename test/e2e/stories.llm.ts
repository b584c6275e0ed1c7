import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const getExamplePath = (path: string): string => fileURLToPath(new URL(`../../examples/llm/${path}`, import.meta.url));

/** Runs the example, and returns the lines that it prints after each name. */
function runExample(...args: string[]) {
  const { status, stdout } = spawnSync(process.execPath, [getExamplePath('run.js'), 'stories', ...args], {
    encoding: 'utf8',
  });
  const listLinesOf = (name: string): string[] =>
    stdout.split('\n').flatMap((line) => new RegExp(`^${name} *\\| (.*)`).exec(line)?.slice(1) ?? []);
  return { status, listLinesOf };
}

it('examples/llm converts the model, serves it from two workers, and writes stories', () => {
  rmSync(getExamplePath('stories15M.gguf'), { force: true });
  const first = runExample();
  expect(first.listLinesOf('model')[1]).toMatch(/^wrote .*stories15M\.gguf \(16\.9 MB\)$/);
  expect(first.listLinesOf('registry').slice(1).sort()).toEqual([
    expect.stringMatching(/^worker1 .* type=chat,model=stories15M$/),
    expect.stringMatching(/^worker2 .* type=chat,model=stories15M$/),
  ]);
  const story = first.listLinesOf('story').join('\n');
  expect(story).toMatch(/^Once upon a time.*\nThe little dragon was/s);
  // With a wrong weight the model repeats itself, and with a wrong token it writes no paragraphs.
  const words = story.toLowerCase().match(/[a-z']+/g) ?? [];
  expect(words.length).toBeGreaterThan(100);
  expect(new Set(words).size / words.length).toBeGreaterThan(0.35);
  expect(story).not.toMatch(/\b(\w+) \1 \1\b/);
  expect(story.split('\n').length).toBeGreaterThan(2);
  expect(first.listLinesOf('openai').join('\n')).toMatch(/^Once upon a time,? .{20}.* \[60 tokens\]$/s);
  for (const word of ['the', 'was', 'and', 'to', 'a']) expect(words).toContain(word);
  expect(first.status).toBe(0);

  const second = runExample('The', 'cat');
  expect(second.listLinesOf('model')).toEqual([]);
  expect(second.listLinesOf('story')[0]).toMatch(/^The cat\b.{20}/);
  expect(second.status).toBe(0);
});
