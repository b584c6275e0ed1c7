import { afterEach, beforeEach, expect, it } from 'vitest';
import { asInstanceId } from '../../src/core/ids.js';
import { createApiClient, toServer } from '../support/api-client.js';
import {
  formatRegisterRequest,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { replica } from '../support/replicas.js';
import { until } from '../support/until.js';

let server: TestApiServer;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  server = await startTestApiServer();
  cleanups.push(() => server.close());
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Registers r1 for a process, and resolves with what the server has sent until the first heartbeat or the refusal. */
async function register(instance: unknown, endpoint = 'h:1') {
  const registration = { replica_id: 'r1', endpoint, capabilities: [{ type: 'chat' }], ttl: 9, instance };
  const connection = openRawConnection(server.port, formatRegisterRequest(JSON.stringify(registration)));
  cleanups.push(() => connection.socket.destroy());
  await until('the server has responded', () => /alive|detail/.test(connection.received()));
  const lease = /^x-anyserve-lease: (\S+)\r$/im.exec(connection.received())?.[1] ?? '';
  return { ...connection, lease, renew: (body: unknown) => renew(lease, body) };
}

async function renew(lease: string, body: unknown): Promise<number> {
  const init = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await fetch(`${server.url}/leases/${lease}`, init)).status;
}

async function listDetails(): Promise<unknown> {
  const { replicas } = (await (await fetch(`${server.url}/replicas`)).json()) as {
    readonly replicas: readonly unknown[];
  };
  return replicas[0];
}

it('replaces a registration of the same process that has a lower number, without a superseded event', async () => {
  const old = await register({ id: 'a', seq: 1, startedMs: 5 });
  const renewed = await register({ id: 'a', seq: 2, startedMs: 5 }, 'h:2');
  await until('the old stream is closed', () => old.socket.readableEnded);
  expect(old.received()).not.toContain('superseded');
  expect(renewed.received()).not.toMatch(/x-anyserve-replaced/i);
  expect(await listDetails()).toMatchObject({ endpoint: 'h:2', instance: { id: 'a', seq: 2 } });
  expect(await old.renew({ state: 'ready', seq: 3 })).toBe(404);
});

it.each([1, 2])('refuses a registration of the same process with the number %d after number 2', async (seq) => {
  await register({ id: 'a', seq: 2, startedMs: 5 });
  const stale = await register({ id: 'a', seq, startedMs: 5 }, 'h:2');
  expect(stale.received()).toMatch(/^HTTP\/1.1 409 /);
  expect(stale.received()).toContain('a newer registration of the same process exists: its number is 2');
  expect(await listDetails()).toMatchObject({ endpoint: 'h:1' });
});

it('a client reports a stale sequence number, instead of an unexpected response', async () => {
  await register({ id: 'a', seq: 2, startedMs: 5 });
  const api = createApiClient(server.url);
  cleanups.push(() => api.close());
  const terms = { ttlMs: 9000, instance: { id: asInstanceId('a'), seq: 1, startedMs: 5 } };
  const opening = api.leases.open(toServer(server.url), replica('r1', {}), terms, new AbortController().signal);
  await expect(opening).rejects.toMatchObject({
    code: 'already_exists',
    message: `the API server ${server.url} refused the registration (HTTP 409): a newer registration of the same process exists: its number is 2, and this one's is 1; the next attempt has a higher number; if this repeats, stop the copy of this process`,
  });
});

it('names each of two processes to the other', async () => {
  const first = await register({ id: 'a', seq: 9, startedMs: 5 });
  const second = await register({ id: 'b', seq: 1, startedMs: 7 });
  await until('the first stream is closed', () => first.socket.readableEnded);
  expect(first.received()).toContain(
    'data: {"status": "superseded", "replica_id": "r1", "instance": {"id": "b", "startedMs": 7}}',
  );
  expect(second.received()).toMatch(/^x-anyserve-replaced: a;startedMs=5\r$/im);
});

it('does not name a process that registered without an instance, and the later registration wins', async () => {
  const first = await register(undefined);
  const second = await register({ id: 'b', seq: 1 });
  const third = await register(undefined);
  for (const { socket } of [first, second]) await until('the stream is closed', () => socket.readableEnded);
  expect(first.received()).toContain('"instance": {"id": "b", "startedMs": 0}');
  expect(second.received()).toContain('data: {"status": "superseded", "replica_id": "r1"}\n');
  expect(third.received()).toMatch(/^x-anyserve-replaced: b;startedMs=0\r$/im);
});

it('ignores the state and the capabilities of a renewal that is older than the last one', async () => {
  const held = await register({ id: 'a', seq: 1 });
  expect(await held.renew({ state: 'draining', seq: 5 })).toBe(200);
  expect(await held.renew({ state: 'ready', seq: 4, capabilities: [{ model: 'x' }] })).toBe(200);
  expect(await listDetails()).toMatchObject({
    state: 'draining',
    capabilities: [{ type: 'chat' }],
    instance: { id: 'a', seq: 5 },
  });
  expect(await held.renew({ state: 'ready', seq: 5 })).toBe(200);
  expect(await listDetails()).toMatchObject({ state: 'ready' });
  const stale = await register({ id: 'a', seq: 5 });
  expect(stale.received()).toMatch(/^HTTP\/1.1 409 /);
});

it.each([
  ['text', '{"loc":["body","instance"]'],
  [{}, '["body","instance","id"]'],
  [{ id: '' }, '["body","instance","id"]'],
  [{ id: 'a b' }, '["body","instance","id"]'],
  [{ id: 'x'.repeat(65) }, '["body","instance","id"]'],
  [{ id: 'a', seq: -1 }, '["body","instance","seq"]'],
  [{ id: 'a', seq: 1.5 }, '["body","instance","seq"]'],
  [{ id: 'a', seq: '1' }, '["body","instance","seq"]'],
  [{ id: 'a', seq: 1, startedMs: 1e300 }, '["body","instance","startedMs"]'],
])('refuses the instance %j', async (instance, place) => {
  const refused = await register(instance);
  expect(refused.received()).toMatch(/^HTTP\/1.1 422 /);
  expect(refused.received()).toContain(place.replace('{"loc":', ''));
});

it('names its registry in every response, the same one', async () => {
  const { url } = server;
  const requests: [string, RequestInit?][] = [
    ['/route?type=none'],
    ['/registry'],
    ['/health'],
    ['/replicas'],
    ['/nowhere'],
    ['/route/'],
    ['/register'],
    ['/register', { method: 'POST', body: '{' }],
    ['/leases/none', { method: 'PUT' }],
    ['/health', { method: 'HEAD' }],
  ];
  const names = new Set<string | null>();
  for (const [path, init] of requests) {
    const response = await fetch(`${url}${path}`, { redirect: 'manual', ...init });
    names.add(response.headers.get('x-anyserve-registry'));
  }
  const { received } = await register({ id: 'a', seq: 1 });
  names.add(/^x-anyserve-registry: (\S+)\r$/im.exec(received())?.[1] ?? null);
  expect([...names]).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/)]);
});
