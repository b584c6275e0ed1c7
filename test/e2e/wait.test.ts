import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, start, startAtTerminal, stopAll } from '../support/binary.js';
import { startCurlRegistrant } from '../support/fleet.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
});

afterAll(stopAll);

/** Starts a server where nothing matches, and records when it was asked for what. */
async function startEmptyServer() {
  const requests: { path: string; atMs: number }[] = [];
  const fake = createServer(({ url = '', headers }, response) => {
    requests.push({ path: url.split('?')[0] as string, atMs: performance.now() });
    const tally = '{"count":0,"replicas":[]}';
    if (url.startsWith('/route')) response.writeHead(404).end('{"detail":"no matching replica"}');
    else {
      const protocol = JSON.stringify(headers['x-anyserve-protocol'] ?? null);
      response.end(`{"replicas":5,"examined":5,"candidates":${tally},"others":${tally},"protocol":${protocol}}`);
    }
  });
  await new Promise<void>((resolve) => fake.listen(0, '127.0.0.1', resolve));
  const close = (): void => {
    fake.closeAllConnections();
    fake.close();
  };
  return { url: `http://127.0.0.1:${(fake.address() as AddressInfo).port}`, requests, close };
}

function countRequests(requests: readonly { readonly path: string }[], path: string): number {
  return requests.filter((request) => request.path === path).length;
}

describe('route --wait', () => {
  it('finds a replica that registers later', async () => {
    const waiting = run(['route', 'type=late', '--wait', '30s', '--json', '--server', server]);
    expect(await run(['route', 'type=late', '--server', server])).toMatchObject({ code: 3 });
    await startCurlRegistrant(server, 'late', { body: { capabilities: [{ type: 'late' }] } });
    expect(await waiting).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('"replica_id":"late"'),
    });
  });

  it('asks at most twice a second, and for the reason only when the time is over', async () => {
    const { url, requests, close } = await startEmptyServer();
    const { code, stdout, stderr } = await run(['route', 'type=x', '--wait', '3s', '--server', url]);
    close();
    expect([code, stdout]).toEqual([3, '']);
    expect(stderr).toBe(
      'anyserve: no replica offers {"type":"x"}; 5 replicas are registered, list them with "anyserve registry"\n',
    );
    expect(requests.at(-1)?.path).toBe('/explain');
    expect(countRequests(requests, '/explain')).toBe(1);
    const times = requests.filter(({ path }) => path === '/route').map(({ atMs }) => atMs);
    expect(times.length).toBeGreaterThan(3);
    expect(times.length).toBeLessThanOrEqual(7);
    // The last one is at most a pause of 0.5 s before the end; the rest is for a busy machine.
    expect((times.at(-1) as number) - (times[0] as number)).toBeGreaterThan(2000);
  });

  it('ends at once on Ctrl-C', async () => {
    const { url, requests, close } = await startEmptyServer();
    const waiting = start(['route', 'type=x', '--wait', '1h', '--server', url]);
    await until('it waits', () => requests.length > 1);
    const sentAtMs = performance.now();
    expect(await waiting.stop('SIGINT')).toMatchObject({ code: 130, stdout: '' });
    expect(performance.now() - sentAtMs).toBeLessThan(1000);
    close();
    expect(countRequests(requests, '/explain')).toBe(0);
  });

  it('waits for an API server that starts later, and reports one that never does', async () => {
    const port = await findFreePort();
    const url = `http://127.0.0.1:${port}`;
    expect(await run(['route', 'type=chat', '--wait', '600ms', '--server', url])).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('cannot reach the API server'),
    });
    const waiting = run(['route', 'type=chat', '--wait', '30s', '--server', url]);
    await start(['serve', '--port', String(port)]).waitForOutput(/listening on (http:\S+)/);
    await startCurlRegistrant(url, 'r1', { body: { capabilities: [{ type: 'chat' }] } });
    expect(await waiting).toMatchObject({ code: 0, stdout: expect.stringContaining('r1') });
  });

  it('shows at a terminal what it waits for', async () => {
    const { url, close } = await startEmptyServer();
    const { code, stdout } = await startAtTerminal(['route', 'type=x', '--wait', '1500ms', '--server', url]).ended;
    close();
    expect(code).toBe(3);
    expect(stdout).toContain('waiting for a replica that offers {"type":"x"}');
  });

  it('does not go with --explain', async () => {
    expect(await run(['route', '--explain', '--wait', '1s'])).toMatchObject({
      code: 2,
      stderr: 'anyserve: --explain and --wait exclude each other; give one of them\n',
    });
  });
});

describe('infer --wait', () => {
  it('calls a replica that registers later', async () => {
    const waiting = run(['infer', 'echo-late', 'Hello', '--wait', '30s', '--server', server]);
    const args = ['--backend', 'echo', '--cap', 'model=echo-late', '--port', '0', '--server', server];
    await start(['worker', ...args]).waitForOutput(/^registered/m);
    expect(await waiting).toEqual({ code: 0, stdout: 'Hello\n', stderr: '' });
  });

  it('asks at most twice a second, and gives up with the reason', async () => {
    const { url, requests, close } = await startEmptyServer();
    const { code, stderr } = await run(['infer', 'x', 'Hello', '--wait', '4s', '--timeout', '20s', '--server', url]);
    close();
    expect(code).toBe(3);
    expect(stderr).toMatch(/^anyserve: no replica offers \{"type":"x"\} or \{"model":"x"\}; 5 replicas .*\n$/);
    expect(countRequests(requests, '/route')).toBeGreaterThanOrEqual(4);
    expect(countRequests(requests, '/route')).toBeLessThanOrEqual(10);
    expect(countRequests(requests, '/explain')).toBe(2);
  });

  it('fails as before without a replica if no time is given', async () => {
    const { url, requests, close } = await startEmptyServer();
    expect(await run(['infer', 'x', 'Hello', '--server', url])).toMatchObject({ code: 3 });
    close();
    expect(countRequests(requests, '/route')).toBe(3);
    expect(await run(['infer', 'x', 'Hello', '--server', 'http://127.0.0.1:1'])).toMatchObject({ code: 4 });
  });

  it('reports at a terminal that it waits', async () => {
    const { url, close } = await startEmptyServer();
    const { stdout } = await startAtTerminal(['infer', 'x', 'Hello', '--wait', '2s', '--server', url]).ended;
    close();
    expect(stdout).toContain('no replica offers {"type":"x"} or {"model":"x"} yet; waiting up to 2s');
  });

  it('ends at once on Ctrl-C', async () => {
    const { url, requests, close } = await startEmptyServer();
    const waiting = start(['infer', 'x', 'Hello', '--wait', '1h', '--server', url]);
    await until('it waits', () => requests.length > 2);
    expect(await waiting.stop('SIGINT')).toMatchObject({ code: 130, stdout: '' });
    close();
    expect(countRequests(requests, '/explain')).toBe(0);
  });
});
