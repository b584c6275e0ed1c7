import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

/** Prints the size of V8's young generation in MB, before and after so many objects that it grows to its limit. */
const MEASURE = `
  import { getHeapSpaceStatistics } from 'node:v8';
  import { limitYoungGeneration } from './dist/cli/young-generation.js';
  const read = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size / 2 ** 20;
  limitYoungGeneration(process.execArgv);
  const before = read();
  for (let kept = [], index = 0; index < 2e6; index++) {
    if (kept.length > 2e4) kept = [];
    kept.push({ index, list: [index] });
  }
  console.log(JSON.stringify([before, read()]));
`;

function measureSizes(...options: string[]): number[] {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const args = [...options, '--input-type=module', '--eval', MEASURE];
  return JSON.parse(execFileSync(process.execPath, args, { env, encoding: 'utf8' }));
}

it('grows to two halves of 4 MB, and not further', () => {
  expect(measureSizes()).toEqual([8, 8]);
});

it('leaves a size that the operator has chosen', () => {
  expect(measureSizes('--max-semi-space-size=8')[1]).toBe(16);
});
