import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

it('examples/multiserver prints each call and ends', () => {
  const script = fileURLToPath(new URL('../../examples/multiserver/run.js', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8', timeout: 120_000 });
  const lines = stdout.split('\n').filter((line) => line.startsWith('client'));
  expect(lines).toEqual([
    'client     | multiply: a=[2,3,4] b=[10,20,30] -> product=[20,60,120]',
    expect.stringMatching(/^client {5}\| {3}endpoint 127\.0\.0\.1:\d+, replica worker1$/),
    'client     | divide: a=[10,20,30] b=[2,4,5] -> quotient=[5,5,6]',
    expect.stringMatching(/^client {5}\| {3}endpoint 127\.0\.0\.1:\d+, replica worker2$/),
    'client     | power: base=[2,3,4] exp=[2,3,2] -> result=[4,27,16]',
    expect.stringMatching(/^client {5}\| {3}endpoint 127\.0\.0\.1:\d+, replica worker2$/),
    'client     | direct: a=[5,6] b=[7,8] -> product=[35,48]',
    expect.stringMatching(/^client {5}\| {3}endpoint 127\.0\.0\.1:\d+, no API server involved$/),
  ]);
  expect(status).toBe(0);
});
