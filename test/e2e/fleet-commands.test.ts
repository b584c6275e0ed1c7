import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { startCurlRegistrant } from '../support/fleet.js';

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  const capabilities = [{ model: 'qwen2', type: 'chat', gpu: 'h100' }];
  await startCurlRegistrant(server, 'r1', { body: { capabilities } });
  await startCurlRegistrant(server, 'r2', { body: { capabilities, state: 'draining' } });
  const worker = ['worker', '--backend', 'echo', '--cap', 'model=echo', '--id', 'w1', '--port', '0'];
  await start([...worker, '--server', server]).waitForOutput(/(registered) /);
});

afterAll(stopAll);

const ask = (...args: string[]) => run([...args, '--server', server]);

describe('registry', () => {
  it('prints ids in an order with -o name and --sort', async () => {
    expect(await ask('registry', '-o', 'name', '--sort', 'state')).toEqual({
      code: 0,
      stderr: '',
      stdout: 'r2\nr1\nw1\n',
    });
    expect((await ask('registry', 'gpu=h100', '--output=name')).stdout).toBe('r1\nr2\n');
  });

  it('prints the same with -o json as with --json', async () => {
    const [short, long] = await Promise.all([ask('registry', '-o', 'json'), ask('registry', '--json')]);
    const withoutTimes = (text: string): string => text.replace(/"(now|last_seen)":[\d.]+/g, '');
    expect(withoutTimes(short.stdout)).toBe(withoutTimes(long.stdout));
  });

  it.each([
    [['-o', 'yaml'], '--output "yaml": give one of wide, json, name'],
    [['--sort', 'age'], '--sort "age": give one of id, endpoint, state, since, seen, running, waiting'],
    [['-o', 'name', '--watch'], '--watch prints changes as they happen; give it without --output name'],
    [['-x'], 'anyserve registry has no option -x; see anyserve --help'],
  ])('refuses %j', async (args, message) => {
    expect(await ask('registry', ...args)).toEqual({ code: 2, stdout: '', stderr: `anyserve: ${message}\n` });
  });
});

describe('models', () => {
  it('lists each model with its numbers of replicas', async () => {
    const { stdout } = await ask('models');
    expect(stdout.split('\n').map((line) => line.split(/ +/))).toEqual([
      ['MODEL', 'TYPE', 'READY', 'REPLICAS', 'RUNNING', 'WAITING'],
      ['echo', '-', '1', '1', '0', '0'],
      ['qwen2', 'chat', '1', '2', '-', '-'],
      [''],
    ]);
    const { models } = JSON.parse((await ask('models', 'type=chat', '--json')).stdout);
    expect(models).toEqual([{ model: 'qwen2', type: 'chat', ready: 1, replicas: 2 }]);
  });

  it('ends with 3 if no capability matches', async () => {
    const stderr = 'anyserve: no replica offers {"type":"chta"}; did you mean type=chat?\n';
    expect(await ask('models', 'type=chta')).toEqual({ code: 3, stdout: '', stderr });
  });
});

describe('describe', () => {
  it('shows what the model declares', async () => {
    const { code, stdout } = await ask('describe', 'echo');
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^model {6}echo\nplatform {3}anyserve\nreplica {4}w1 at \S+\n/),
    ]);
    const json = JSON.parse((await ask('describe', 'echo', '--json')).stdout);
    expect(json).toMatchObject({ name: 'echo', inputs: [], outputs: [], replica_id: 'w1' });
  });

  it('refuses a command line without a model', async () => {
    const stderr = 'anyserve: missing MODEL: give the name of a model, such as chat\n';
    expect(await ask('describe')).toEqual({ code: 2, stdout: '', stderr });
  });
});

describe('doctor', () => {
  it('prints a line per check, and ends with 1 because of endpoints that cannot be reached', async () => {
    const { code, stdout, stderr } = await ask('doctor');
    expect([code, stderr]).toEqual([1, '']);
    expect(stdout).toMatch(/^ok +node +v\d+/m);
    expect(stdout).toMatch(new RegExp(`^ok +access +${server}: lists 3 replicas$`, 'm'));
    expect(stdout).toMatch(/^failed +endpoint +r1 at \S+: no such host$/m);
    expect(stdout).toMatch(/^ok +endpoint +w1 at \S+: speaks gRPC, responds in \d+ ms$/m);
  });

  it('prints the results as one object with --json, and ends with 0 if no check failed', async () => {
    const { code, stdout } = await ask('doctor', '--endpoint', `${server}/v1`, '--json');
    const { checks } = JSON.parse(stdout) as { checks: { check: string; status: string; target?: string }[] };
    expect([code, checks.at(-1)]).toMatchObject([0, { check: 'endpoint', target: `${server}/v1`, status: 'ok' }]);
  });
});

it('completes the values of an option that is given as a letter', async () => {
  const { stdout } = await run(['__complete', 'fish', 'registry', '-o', 'w']);
  expect(stdout).toContain('wide');
});

describe('with more than ten servers', () => {
  it.each([['registry'], ['models'], ['events'], ['route', 'a=1'], ['cordon', 'x'], ['doctor']])(
    '%s prints no warning about listeners',
    async (...command) => {
      const all = start(['serve', '--host', '0.0.0.0', '--port', '0']);
      const port = await all.waitForOutput(/listening on http:\S+:(\d+)/);
      const servers = Array.from({ length: 12 }, (_, n) => ['--server', `http://127.0.0.${n + 1}:${port}`]).flat();
      const endpoints = Array.from({ length: 12 }, (_, n) => ['--endpoint', `127.0.0.${n + 1}:1`]).flat();
      const { stdout, stderr } = await run([...command, ...servers, ...(command[0] === 'doctor' ? endpoints : [])]);
      expect(stdout + stderr).not.toBe('');
      expect(stderr).not.toContain('MaxListeners');
      await all.stop();
    },
  );
});
