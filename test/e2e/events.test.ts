import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

let url: string;

beforeEach(async () => {
  [, url] = await startServer();
});

afterEach(stopAll);

async function startServer(port = '0'): Promise<[Running, string]> {
  const started = start(['serve', '--port', port]);
  return [started, await started.waitForOutput(/listening on (http:\S+)/)];
}

/** Registers a replica with the server, and returns the running command. */
async function register(id: string, ...servers: readonly string[]): Promise<Running> {
  const urls = servers.flatMap((one) => ['--server', one]);
  const registering = start(['register', '--id', id, '--endpoint', `${id}.test:1`, '--cap', 'model=x', ...urls]);
  await until('it is registered everywhere', () => registering.stdout().split('registered').length > servers.length);
  return registering;
}

const readLines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

describe('anyserve events', () => {
  it('lists what happened in a table, or as JSON lines', async () => {
    expect(await run(['events', '--server', url])).toEqual({ code: 0, stdout: '', stderr: 'no events\n' });
    await (await register('r1', url)).stop();
    await until('it is removed', async () => (await run(['events', '--server', url])).stdout.includes('removed'));
    const { stdout, code } = await run(['events', '--server', url]);
    expect(code).toBe(0);
    const [head, ...rows] = readLines(stdout);
    expect(head).toMatch(/^TIME +EVENT +REPLICA +DETAILS$/);
    expect(rows[0]).toMatch(/^\d\d:\d\d:\d\d +registered +r1 +at r1\.test:1$/);
    expect(rows.at(-1)).toMatch(
      /^\d\d:\d\d:\d\d +removed +r1 +released, host 127\.0\.0\.1, lived \d+\.\d s, last seen /,
    );
    const json = readLines((await run(['events', '--server', url, '--json', '--kind', 'registered'])).stdout);
    expect(json.map((line) => JSON.parse(line))).toEqual([
      { seq: 1, at: expect.any(Number), kind: 'registered', replica_id: 'r1', endpoint: 'r1.test:1' },
    ]);
    expect((await run(['events', '--server', url, '--replica', 'r2'])).stderr).toBe('no events\n');
  });

  it('merges the events of several servers by time, names the server, and reports one that fails', async () => {
    const [, other] = await startServer();
    await register('r1', url);
    await register('r2', other);
    await register('r3', url);
    const servers = [url, other, 'http://127.0.0.1:1'].flatMap((one) => ['--server', one]);
    const { stdout, stderr, code } = await run(['events', '--json', ...servers, '--kind', 'registered']);
    const events = readLines(stdout).map((line) => JSON.parse(line) as { replica_id: string; server: string });
    expect(events.map(({ replica_id: id, server: name }) => [id, name])).toEqual([
      ['r1', url],
      ['r2', other],
      ['r3', url],
    ]);
    expect(stderr).toMatch(/incomplete list: cannot reach the API server http:\/\/127\.0\.0\.1:1/);
    expect(code).toBe(0);
    expect((await run(['events', ...servers])).stdout).toMatch(/^TIME +EVENT +REPLICA +SERVER +DETAILS\n/);
  });

  it('fails when no server responds, and for a kind that does not exist', async () => {
    const nowhere = await run(['events', '--server', 'http://127.0.0.1:1']);
    expect([nowhere.code, nowhere.stdout]).toEqual([4, '']);
    const follow = await run(['events', '--follow', '--server', 'http://127.0.0.1:1']);
    expect([follow.code, follow.stdout]).toEqual([4, '']);
    const kind = await run(['events', '--server', url, '--kind', 'nonsense']);
    expect(kind.code).toBe(2);
    expect(kind.stderr).toMatch(/^anyserve: --kind "nonsense" does not exist; the kinds are registered, /);
  });
});

describe('anyserve events --follow', () => {
  it('prints the history and each new event, until it is interrupted', async () => {
    const r1 = await register('r1', url);
    const following = start(['events', '--follow', '--server', url]);
    await following.waitForOutput(/^\d\d:\d\d:\d\d {2}registered {12}r1 {2}at r1\.test:1\n/);
    await register('r2', url);
    await following.waitForOutput(/registered +r2/);
    await r1.stop();
    await following.waitForOutput(/removed +r1 +released/);
    expect(following.stdout().split(/registered +r1/)).toHaveLength(2);
    expect(await following.stop('SIGINT')).toMatchObject({ code: 130, stderr: '' });
  });

  it('goes on with the next process of a server, and reports the failure once', async () => {
    const port = await findFreePort();
    const [first, name] = await startServer(`${port}`);
    const following = start([
      'events',
      '--follow',
      '--json',
      '--kind',
      'registered',
      '--server',
      name,
      '--server',
      url,
    ]);
    await register('r1', name);
    await following.waitForOutput(/"replica_id":"r1"/);
    await first.stop('SIGKILL');
    await until('the failure is reported', () => following.stderr().includes('retrying'));
    await register('r2', url);
    await following.waitForOutput(/"replica_id":"r2"/);
    await startServer(`${port}`);
    await register('r3', name);
    await following.waitForOutput(/"replica_id":"r3"/);
    const { code, stdout } = await following.stop();
    expect(code).toBe(0);
    const events = readLines(stdout).map((line) => JSON.parse(line) as { replica_id: string; server: string });
    // r1 registers with the new process of its server, too.
    expect(new Set(events.map(({ replica_id: id, server: from }) => `${id} ${from}`))).toEqual(
      new Set([`r1 ${name}`, `r2 ${url}`, `r3 ${name}`]),
    );
  });

  it('ends when its reader closes stdout', async () => {
    const following = start(['events', '--follow', '--server', url]);
    await register('r1', url);
    await following.waitForOutput(/registered/);
    following.child.stdout?.destroy();
    await register('r2', url);
    await register('r3', url);
    expect((await following.ended).code).toBe(0);
  });
});
