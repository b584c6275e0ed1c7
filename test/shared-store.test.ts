import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { type ApiServer, type SerializedReplica, startApiServer } from '../src/index.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { formatRegisterRequest, formatRegistrationBody, openRawConnection } from './support/api-server.js';
import { TEST_REGISTRY } from './support/replicas.js';
import { until } from './support/until.js';

const started: ApiServer[] = [];

afterEach(async () => {
  await Promise.all(started.splice(0).map((server) => server.close()));
});

async function serve(options: Parameters<typeof startApiServer>[0]): Promise<ApiServer> {
  const server = await startApiServer({ port: 0, warmingMs: 0, ...options });
  started.push(server);
  return server;
}

async function get(server: ApiServer, path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`${server.url}${path}`);
  return { status: response.status, body: await response.text() };
}

it("servers that share a store route to each other's replicas, and go on serving when one of them closes", async () => {
  const store = new MemoryStore<SerializedReplica>(TEST_REGISTRY);
  const [one, other] = [await serve({ store }), await serve({ store })];
  const connection = openRawConnection(one.port, formatRegisterRequest(formatRegistrationBody('r1')));
  const kept = openRawConnection(other.port, formatRegisterRequest(formatRegistrationBody('r2')));
  await until('both are registered', () => [connection, kept].every(({ received }) => received().includes('alive')));
  const routed = await get(other, '/registry');
  expect(JSON.parse(routed.body).replicas).toMatchObject([{ replica_id: 'r1' }, { replica_id: 'r2' }]);
  const ended = once(connection.socket, 'end');
  await one.close();
  await ended;
  expect(JSON.parse((await get(other, '/registry')).body).replicas).toMatchObject([{ replica_id: 'r2' }]);
  const late = openRawConnection(other.port, formatRegisterRequest(formatRegistrationBody('r3', [{ type: 'late' }])));
  await until('r3 is registered', () => late.received().includes('alive'));
  expect(await get(other, '/route?type=late')).toMatchObject({ status: 200 });
  for (const { socket } of [connection, kept, late]) socket.destroy();
});

it('a server becomes ready when the store has delivered its first complete list', async () => {
  let deliver = (): void => {};
  const start = () => new Promise<void>((resolve) => (deliver = resolve));
  const server = await serve({ store: Object.assign(new MemoryStore<SerializedReplica>(TEST_REGISTRY), { start }) });
  expect(await get(server, '/readyz')).toEqual({
    status: 503,
    body: '{"status":"unready","reasons":["the first complete list of registrations has not arrived"]}',
  });
  deliver();
  expect(await get(server, '/readyz')).toEqual({ status: 200, body: '{"status":"ready"}' });
});

it('a server whose store cannot start logs the reason and refuses registrations', async () => {
  const lines: string[] = [];
  const keep = (line: string): void => void lines.push(line);
  const start = () => Promise.reject(new Error('no quorum'));
  const server = await serve({
    store: Object.assign(new MemoryStore<SerializedReplica>(TEST_REGISTRY), { start }),
    log: { info: keep, warn: keep },
  });
  const { socket, received } = openRawConnection(server.port, formatRegisterRequest(formatRegistrationBody('r1')));
  await until('the refusal', () => received().includes('no quorum'));
  expect(received()).toMatch(/^HTTP\/1\.1 503 /);
  expect(lines[0]).toBe('the registration store failed: no quorum');
  expect(lines[1]).toMatch(/^refused a registration of "r1" from 127\.0\.0\.1: .*no quorum \(unavailable\)$/);
  socket.destroy();
});

it('a server that cannot listen does not close a shared store', async () => {
  let closed = 0;
  const store = Object.assign(new MemoryStore<SerializedReplica>(TEST_REGISTRY), { close: async () => void closed++ });
  const { port } = await serve({ store });
  await expect(startApiServer({ port, store })).rejects.toMatchObject({ code: 'failed' });
  expect(closed).toBe(0);
});

it('a server whose store has a problem is degraded, and accepts registrations', async () => {
  const problems: string[] = [];
  const listProblems = (): string[] => problems;
  const server = await serve({
    store: Object.assign(new MemoryStore<SerializedReplica>(TEST_REGISTRY), { listProblems }),
  });
  expect(await get(server, '/readyz')).toEqual({ status: 200, body: '{"status":"ready"}' });
  problems.push('it is far away');
  expect(await get(server, '/readyz')).toEqual({
    status: 200,
    body: '{"status":"degraded","reasons":["it is far away"]}',
  });
  const { socket, received } = openRawConnection(server.port, formatRegisterRequest(formatRegistrationBody('r1')));
  await until('r1 is registered', () => received().includes('alive'));
  socket.destroy();
});

it.each([
  [{ store: 'redis://h' }, 'store "redis://h": it is not an address of etcd; give etcd://HOST:PORT'],
  [{ store: 'etcd://h', storeTls: {} }, 'store etcd://h uses no TLS, but certificates are given; use etcds://'],
  [
    { storeLogin: { user: 'u', password: 'p' } },
    'certificates or a login are given for the store, but it is in memory',
  ],
])('a server refuses %j', async (options, message) => {
  await expect(startApiServer({ port: 0, ...options })).rejects.toThrow(message);
});

it('a server does not wait for an etcd that it cannot reach', async () => {
  // The built library, because the client of etcd runs in a thread, which starts with a built file.
  const library = await import(new URL('../dist/index.js', import.meta.url).href);
  const server: ApiServer = await library.startApiServer({ port: 0, store: 'etcd://127.0.0.1:1' });
  started.push(server);
  await until('it is degraded', async () => (await get(server, '/readyz')).body.includes('degraded'));
  expect(await get(server, '/health')).toMatchObject({ status: 200 });
});
