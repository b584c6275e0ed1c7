import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, type Running, run, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const NOWHERE = 'http://127.0.0.1:1';

const processes: Running[] = [];
const cleanups: (() => unknown)[] = [];
let a: string;
let b: string;

beforeAll(async () => {
  [a, b] = await Promise.all([startServer(), startServer()]);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await Promise.all(processes.splice(0).map((one) => one.stop('SIGKILL')));
  for (const url of [a, b]) await until('the list is empty', async () => (await listRows(url)).length === 0);
});

afterAll(stopAll);

function startServer(): Promise<string> {
  return start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
}

/** Keeps a replica registered with servers. Each test has its own id, because servers remember cordons. */
async function startRegistrant(id: string, ...servers: readonly string[]): Promise<void> {
  const args = ['register', '--id', id, '--endpoint', 'gpu7:8001', '--cap', 'type=chat'];
  const registrant = start([...args, ...toOptions(servers)]);
  processes.push(registrant);
  for (const url of servers) await registrant.waitForOutput(new RegExp(`registered ${id} \\S+ with (${url})`));
}

function toOptions(servers: readonly string[]): string[] {
  return servers.flatMap((url) => ['--server', url]);
}

function runAt(servers: readonly string[], ...args: readonly string[]): Promise<Outcome> {
  return run([...args, ...toOptions(servers)]);
}

interface Row {
  readonly replica_id: string;
  readonly cordon?: { readonly cordoned: boolean; readonly reason: string };
}

async function listRows(url: string): Promise<readonly Row[]> {
  return ((await (await fetch(`${url}/replicas`)).json()) as { readonly replicas: readonly Row[] }).replicas;
}

/** Registers a replica until the test ends, with a one-way lease, as the registrants of the Python server do. */
async function registerOneWay(url: string, id: string): Promise<void> {
  const lease = new AbortController();
  cleanups.push(() => lease.abort());
  const body = JSON.stringify({ replica_id: id, endpoint: 'gpu7:8001', capabilities: [{ type: 'chat' }] });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/register`, { method: 'POST', headers, body, signal: lease.signal });
  expect(response.status).toBe(200);
  // Keeps the response: Node.js cancels one that was garbage-collected, and the lease would end.
  cleanups.push(() => response.body?.cancel().catch(() => {}));
}

/** Starts a program that responds to every request as the Python server does to an unknown path. */
async function startServerWithoutCordons(): Promise<string> {
  const server = createServer((_request, response) => void response.writeHead(404).end('{"detail":"Not Found"}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('anyserve cordon and uncordon', () => {
  it('take a replica out of the responses of all servers and put it back', async () => {
    await startRegistrant('r1', a, b);
    expect(await runAt([a, b], 'cordon', 'r1', '--reason', 'bad GPU')).toEqual({
      code: 0,
      stdout: `cordoned r1 at ${a}\ncordoned r1 at ${b}\n`,
      stderr: '',
    });
    expect((await runAt([a, b], 'registry')).stdout).toMatch(/^r1 +gpu7:8001 +ready,cordoned /m);
    expect(await runAt([a, b], 'route', 'type=chat')).toEqual({
      code: 3,
      stdout: '',
      stderr: 'anyserve: no ready replica offers {"type":"chat"}; "r1" (cordoned: "bad GPU") does\n',
    });
    expect(await runAt([a, b], 'uncordon', 'r1')).toEqual({
      code: 0,
      stdout: `uncordoned r1 at ${a}\nuncordoned r1 at ${b}\n`,
      stderr: '',
    });
    expect((await runAt([a, b], 'registry')).stdout).toMatch(/^r1 +gpu7:8001 +ready /m);
    expect((await runAt([a, b], 'route', 'type=chat')).code).toBe(0);
  });

  it('print the response of each server with --json', async () => {
    await startRegistrant('r2', a);
    const { code, stdout, stderr } = await runAt([a, b, NOWHERE], 'cordon', 'r2', '--reason', 'x', '--json');
    expect(code).toBe(3);
    const cordon = { cordoned: true, reason: 'x', at: expect.any(Number) };
    expect(JSON.parse(stdout)).toEqual({
      replica_id: 'r2',
      servers: [
        { server: a, status: 'cordoned', cordon, repeated_by_replica: true },
        { server: b, error: { code: 'no_match', message: expect.stringContaining('"r2" is registered with') } },
        { server: NOWHERE, error: { code: 'server_unreachable', message: expect.any(String) } },
      ],
    });
    expect(JSON.parse(stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({ error: { code: 'no_match' } });
  });

  it('fail if a server that responds does not know the replica, and not if one does not respond', async () => {
    await startRegistrant('r3', a);
    const partly = await runAt([a, b], 'cordon', 'r3');
    expect(partly).toMatchObject({ code: 3, stdout: `cordoned r3 at ${a}\n` });
    expect(partly.stderr).toBe(`anyserve: no replica with the id "r3" is registered with ${b}\n`);
    const unreachable = await runAt([a, NOWHERE], 'uncordon', 'r3');
    expect(unreachable).toMatchObject({ code: 0, stdout: `uncordoned r3 at ${a}\n` });
    expect(unreachable.stderr).toContain(`not done at one API server: cannot reach the API server ${NOWHERE}`);
    expect(await runAt([NOWHERE], 'cordon', 'r3')).toMatchObject({ code: 4, stdout: '' });
    const unknown = await runAt([a, b], 'cordon', 'unknown');
    expect(unknown).toMatchObject({ code: 3, stdout: '' });
    expect(unknown.stderr).toContain(`${a}; no replica with the id "unknown" is registered with ${b}\n`);
  });

  it('say that a server has no cordons', async () => {
    const url = await startServerWithoutCordons();
    expect(await runAt([url], 'cordon', 'r1')).toEqual({
      code: 1,
      stdout: '',
      stderr: `anyserve: ${url} has no cordons: it is an older version, or another program\n`,
    });
  });

  it.each(['one-way', '..', 'a/b c'])('say that the replica %j does not repeat the cordon', async (id) => {
    await registerOneWay(a, id);
    expect(await runAt([a], 'cordon', id)).toEqual({
      code: 0,
      stdout: `cordoned ${id} at ${a}; the replica does not repeat it, so it ends when this API server stops\n`,
      stderr: '',
    });
    expect(await listRows(a)).toMatchObject([{ replica_id: id, cordon: { cordoned: true } }]);
  });

  it.each<[string[], RegExp]>([
    [['cordon'], /give the id of a replica; list the ids with "anyserve registry"/],
    [['uncordon'], /give the id of a replica/],
    [['cordon', 'r1', 'r2'], /"r2"/],
    [['cordon', 'x'.repeat(129)], /a replica id must have 1 to 128 bytes; this one has 129/],
    [['cordon', 'r1', '--reason', 'é'.repeat(129)], /--reason must have at most 256 bytes; this one has 258/],
  ])('refuse the arguments %j', async (args, message) => {
    const { code, stderr } = await runAt([a], ...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });
});

it('a cordon outlives the restart of each API server', async () => {
  const servers = await Promise.all(
    [0, 1].map(async () => {
      const port = String(await findFreePort());
      const running = start(['serve', '--port', port]);
      return { running, port, url: await running.waitForOutput(/listening on (http:\S+)/) };
    }),
  );
  const urls = servers.map(({ url }) => url);
  await startRegistrant('r1', ...urls);
  const [first = ''] = urls;
  await runAt([first], 'cordon', 'r1', '--reason', 'bad GPU');
  const isCordoned = async (url: string): Promise<boolean> =>
    (await listRows(url).catch(() => [])).some(({ cordon }) => cordon?.reason === 'bad GPU');
  await until('the replica has repeated it', () => isCordoned(urls[1] ?? ''));
  for (const { running, port, url } of servers) {
    await running.stop();
    await start(['serve', '--port', port]).waitForOutput(/listening on (http:\S+)/);
    await until('it is cordoned at the restarted server', () => isCordoned(url));
  }
});
