import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  const caps = ['type=chat,ctx=4096', 'type=chat,ctx=32768', 'type=chat,ctx=65536'];
  for (const [n, cap] of caps.entries()) {
    const register = ['register', '--id', `r${n + 1}`, '--endpoint', `localhost:${n + 1}`, '--cap', cap];
    start([...register, '--label', `zone=${'abc'.charAt(n)}`, '--label', 'ctx=1', '--server', server]);
  }
  const backend = ['--backend', 'echo', '--cap', 'type=echo', '--id', 'w1'];
  start(['worker', ...backend, '--label', 'zone=w', '--port', '0', '--server', server]);
  await until('all are registered', async () => {
    const { replicas } = (await (await fetch(`${server}/registry`)).json()) as { replicas: unknown[] };
    return replicas.length === 4;
  });
});

afterAll(stopAll);

const runCommand = (...args: string[]) => run([...args, '--server', server], { input: 'Hello\n' });

describe('--label', () => {
  it('adds pairs to the capabilities that do not have the key, of register and worker', async () => {
    const { replicas } = (await (await fetch(`${server}/registry`)).json()) as {
      replicas: { replica_id: string; capabilities: object[] }[];
    };
    const sorted = replicas.sort((a, b) => (a.replica_id < b.replica_id ? -1 : 1));
    expect(sorted.map(({ replica_id: id, capabilities }) => [id, ...capabilities])).toEqual([
      ['r1', { type: 'chat', ctx: '4096', zone: 'a' }],
      ['r2', { type: 'chat', ctx: '32768', zone: 'b' }],
      ['r3', { type: 'chat', ctx: '65536', zone: 'c' }],
      ['w1', { type: 'echo', zone: 'w' }],
    ]);
  });
});

describe('--where and --prefer', () => {
  it('choose the replica of route', async () => {
    const { stdout } = await runCommand('route', 'type=chat', '--where', 'ctx>=8192, zone!=b', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ replica_id: 'r3' });
    const preferred = await runCommand('route', 'type=chat', '--prefer', 'zone in (x,b)', '--json');
    expect(JSON.parse(preferred.stdout)).toMatchObject({ replica_id: 'r2' });
  });

  it('choose the replica of infer and chat', async () => {
    expect(await runCommand('infer', 'echo', 'Hello', '--where', 'zone=w')).toMatchObject({ code: 0 });
    expect(await runCommand('infer', 'echo', 'Hello', '--where', 'zone=x', '--timeout', '20s')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining(
        'no replica that offers {"type":"echo"} or {"model":"echo"} matches the selector "zone=x"',
      ),
    });
    expect(await runCommand('chat', 'echo', '--where', 'zone=x', '--timeout', '20s')).toMatchObject({ code: 3 });
  });

  it('choose the rows of registry', async () => {
    const { stdout } = await runCommand('registry', '--where', 'ctx<50000', '--json');
    const { replicas } = JSON.parse(stdout) as { replicas: { replica_id: string }[] };
    expect(replicas.map(({ replica_id: id }) => id).sort()).toEqual(['r1', 'r2']);
    expect(await runCommand('registry', 'type=chat', '--where', 'ctx>1e6')).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(
        /^anyserve: no replica that offers {"type":"chat"} matches the selector "ctx>1e6"; wanted ctx>1e6, "r\d" has ctx=\d+\n$/,
      ),
    });
    const explained = await runCommand('route', '--explain', 'type=chat', '--where', 'zone=d');
    expect(explained).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(
        /^no replica offers {"type":"chat"} where "zone=d"\n {2}wanted zone=d, "r\d" has zone=[abc]\n$/,
      ),
    });
  });

  it('choose the events of registry --watch', async () => {
    const watching = start(['registry', '--watch', '--where', 'zone in (a,c)', '--server', server]);
    await watching.waitForOutput(/r3 {2}ready/);
    const { stdout } = await watching.stop();
    expect(stdout).toMatch(/r1 {2}ready/);
    expect(stdout).not.toMatch(/r2|w1/);
  });

  it.each([
    [
      ['route', '--where', 'a='],
      '--where: expected a value ("" is the empty one) at character 3, but the selector ends there',
    ],
    [['infer', 'chat', '--prefer', 'a b'], '--prefer: expected an operator'],
    [['route', '--explain', 'a=1', '--prefer', 'zone=a'], '--explain does not explain preferences'],
    [['route', 'type=chat', '--wait', '1s', '--where'], 'where'],
    [['registry', '--where', '!'], '--where: expected a key at character 2'],
    [['infer', 'chat', 'Hi', '--where', 'a', '--endpoint', 'localhost:1'], '--where and --prefer choose among'],
  ])('refuse %j', async (args, message) => {
    const { code, stderr } = await runCommand(...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
