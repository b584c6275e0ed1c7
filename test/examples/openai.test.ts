import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { startProgram } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { startTestGateway } from '../support/gateway.js';
import { startOpenaiEngine } from '../support/openai-engine.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAMS = ['direct', 'gateway'].map((name) => `examples/openai/${name}.ts`);

const keep = closeAfterEach();

let compiled: Awaited<ReturnType<typeof startProgram>['ended']>;

beforeAll(async () => {
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
  const args = [...options, '--skipLibCheck', '--ignoreConfig', ...PROGRAMS];
  compiled = await startProgram(['node_modules/.bin/tsc', ...args], { cwd: PROJECT }).ended;
});

it('the examples of OpenAI clients compile', () => {
  expect(compiled).toEqual({ code: 0, stdout: '', stderr: '' });
});

it.each(PROGRAMS)('%s prints the models and the response of a replica', async (program) => {
  const { server, gateway, register, waitForModels } = keep(await startTestGateway());
  const engine = keep(await startOpenaiEngine());
  await register('a', engine.url);
  await waitForModels('m');
  const address = program.includes('direct') ? server.url : `${gateway.url}/v1`;
  const { code, stdout, stderr } = await startProgram(['node_modules/.bin/tsx', program, 'm', address], {
    cwd: PROJECT,
  }).ended;
  const [models, text, replica] = stdout.split('\n');
  expect([code, stderr, models, text]).toEqual([0, '', 'models: m', 'I have read: Why is the sky blue? ☃.']);
  if (program.includes('direct')) expect(replica).toMatch(`replica a at ${engine.url}: first byte after`);
});
