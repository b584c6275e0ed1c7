import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { writeTinyModel } from '../support/tiny-model.js';

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anyserve-llama-'));
const model = join(folder, 'tiny.gguf');

beforeAll(() => writeTinyModel(model, { rows: [['x', '▁Gr', '<0xC3>', '<0xBC>', 'ße', '!', '</s>']] }));

afterAll(async () => {
  await stopAll();
  rmSync(folder, { recursive: true });
});

describe('anyserve worker --llama', () => {
  it('needs one command line, and is called like any other worker', async () => {
    const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
    const options = ['--llama', model, '--threads', '1', '--context', '64', '--sequences', '2', '--cap', 'gpu=no'];
    const worker = start(['worker', ...options, '--id', 'w1', '--port', '0', '--server', server]);
    const endpoint = await worker.waitForOutput(/^serving on (\S+)\n(?=registered w1)/m);
    expect((await run(['registry', '--server', server])).stdout).toContain('type=chat,model=tiny,gpu=no');
    const call = ['--server', server, '--prompt', 'x', '--param', 'temperature=0'];
    for (const form of [['chat'], ['tiny'], ['chat', '--stream']]) {
      expect(await run(['infer', ...form, ...call])).toEqual({ code: 0, stdout: ' Grüße!\n', stderr: '' });
    }
    expect(await run(['infer', 'chat', '--endpoint', endpoint, '--prompt', 'x'.repeat(99)])).toMatchObject({
      code: 5,
      stdout: '',
      stderr: expect.stringMatching(
        /^anyserve: .*input "prompt": it has 101 tokens, but the maximum is \d+; .*--context\n$/,
      ),
    });
    const { code, stdout, stderr } = await worker.stop();
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^serving on \S+\nregistered w1 [^\n]+\n$/)]);
    expect(stderr.split('\n').map((line) => line.replace(/^\S+ info /, ''))).toEqual([
      `loading ${model}`,
      expect.stringContaining('it has 101 tokens'),
      '',
    ]);
  });

  it('leaves calls that it cannot serve to another replica', async () => {
    const server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
    const register = ['--port', '0', '--server', server];
    const llama = start(['worker', '--llama', model, '--threads', '1', '--id', 'llama', ...register]);
    await llama.waitForOutput(/^(registered llama)/m);
    const call = ['infer', 'chat', '--server', server, '--prompt', 'x'];
    const asked = [
      ['--param', 'top_k=1'],
      ['--param', 'n=2'],
      ['--stream', '--param', 'logprobs=true'],
    ];
    expect(await run([...call, ...(asked[0] as string[])])).toMatchObject({
      code: 5,
      stdout: '',
      stderr: expect.stringContaining('parameter "top_k" is not supported by this model'),
    });
    const echo = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--id', 'echo', ...register]);
    await echo.waitForOutput(/^(registered echo)/m);
    for (const parameters of asked) {
      expect(await run([...call, ...parameters])).toMatchObject({ code: 0, stdout: expect.stringContaining('x') });
    }
    await echo.stop();
    await llama.stop();
  });

  it('returns embeddings with --embeddings, under the name that --model gives', async () => {
    const worker = start([
      'worker',
      '--llama',
      model,
      '--embeddings',
      '--model',
      'vectors',
      '--port',
      '0',
      '--no-register',
    ]);
    const endpoint = await worker.waitForOutput(/^serving on (\S+)/m);
    const { code, stdout } = await run(['infer', 'vectors', '--endpoint', endpoint, '--input', 'input=["a","b"]']);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^embedding {3}FP32\[2,32\] /m)]);
    expect(await worker.stop()).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^\S+ info loading [^\n]+\n$/),
    });
  });

  it.each<[string, string[], string]>([
    ['a missing file', ['--llama', 'nowhere.gguf'], 'file not found: nowhere.gguf'],
    ['a file of another format', ['--llama', 'package.json'], 'cannot load package.json: Invalid GGUF magic'],
    ['--threads without a model', ['--backend', 'echo', '--threads', '2'], '--threads requires --llama FILE'],
    ['an invalid number', ['--llama', model, '--context', 'large'], '--context "large": give a whole number from 1'],
    ['two names', ['--llama', model, '--model', 'a', '--model', 'b'], '--llama runs one model; give --model once'],
    ['two engines', ['--llama', model, '--openai', 'http://localhost:1/v1'], '--openai and --llama exclude each other'],
  ])('refuses %s in one line', async (_what, options, words) => {
    const { code, stdout, stderr } = await run(['worker', '--no-register', '--port', '0', ...options]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/(^|\n)anyserve: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });

  it('reports what to install when its package is missing', async () => {
    const without = join(folder, 'package');
    mkdirSync(join(without, 'node_modules'), { recursive: true });
    for (const part of ['bin', 'dist', 'proto', 'package.json']) {
      cpSync(join(PACKAGE, part), join(without, part), { recursive: true });
    }
    for (const name of readdirSync(join(PACKAGE, 'node_modules'))) {
      if (name === 'node-llama-cpp') continue;
      symlinkSync(join(PACKAGE, 'node_modules', name), join(without, 'node_modules', name));
    }
    const binary = join(without, 'bin', 'anyserve.js');
    expect(await run(['worker', '--llama', model, '--no-register', '--port', '0'], { binary })).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'anyserve: --llama needs the package node-llama-cpp, which is not installed; ' +
        'run npm install node-llama-cpp where anyserve is installed, with -g if that is globally\n',
    });
  });
});
