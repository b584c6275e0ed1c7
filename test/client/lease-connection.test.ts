import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatRegisteredEvent, LEASE_PROTOCOL, RENEWED_EVENT } from '../../src/api/lease-events.js';
import { LeaseConnection } from '../../src/client/lease-connection.js';
import { createCapability } from '../../src/json/capability-json.js';
import { createApiClient } from '../support/api-client.js';
import { startTestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { until } from '../support/until.js';

const RENEWED = { status: 'renewed', cordon: undefined } as const;
const NOT_RENEWED = { status: 'not_renewed' } as const;

let clock: ManualClock;
let socket: PassThrough;
let connection: LeaseConnection;
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

beforeEach(() => {
  clock = new ManualClock();
  socket = new PassThrough({ encoding: 'utf8' });
  connection = new LeaseConnection(socket, clock);
});

it('sends a renewal as one line, and resolves to the response of the server', async () => {
  const renewal = connection.renew({ state: 'ready', seq: 3 });
  expect(socket.read()).toBe('{"state":"ready","seq":3}\n');
  const cordon = { cordoned: true, reason: '', atMs: 5 };
  connection.handleEvent({ status: 'alive' });
  connection.handleEvent({ status: 'renewed', cordon });
  expect(await renewal).toEqual({ kind: 'renewed', cordon });
  expect(clock.pending()).toEqual([]);
});

it('sends no further renewal before the response to the previous one, even if that is late', async () => {
  const late = connection.renew({ state: 'ready' });
  expect(await connection.renew({ state: 'ready' })).toBeUndefined();
  clock.advance(500);
  expect(await late).toBeUndefined();
  expect(await connection.renew({ state: 'ready' })).toBeUndefined();
  expect(socket.read()).toBe('{"state":"ready"}\n');
  connection.handleEvent(RENEWED);
  const next = connection.renew({ state: 'ready' });
  connection.handleEvent(RENEWED);
  expect(await next).toEqual({ kind: 'renewed', cordon: undefined });
});

it('sends no further renewal after the server has declined one', async () => {
  const declined = connection.renew({ state: 'ready' });
  connection.handleEvent(NOT_RENEWED);
  expect(await declined).toBeUndefined();
  socket.read();
  expect(await connection.renew({ state: 'ready' })).toBeUndefined();
  expect(connection.isOpenForRenewals).toBe(false);
  expect(socket.read()).toBeNull();
});

it.each([
  ['capabilities', { capabilities: [createCapability({ type: 'chat' })] }],
  ['more than 4 KiB', { cordon: { cordoned: true, reason: 'x'.repeat(4096), atMs: 5 } }],
])('leaves renewals with %s to requests', async (_what, report) => {
  expect(await connection.renew(report)).toBeUndefined();
  expect(socket.read()).toBeNull();
  expect(connection.isOpenForRenewals).toBe(true);
});

it('sends nothing on a connection that is closed', async () => {
  socket.destroy();
  expect(await connection.renew({ state: 'ready' })).toBeUndefined();
});

/** Starts an HTTP server that reports a registry, or is like the Python server and reports none. Records its requests. */
async function startServer(headers: Record<string, string>, onUpgrade?: (socket: PassThrough) => void) {
  const requests: IncomingMessage[] = [];
  const listener: RequestListener = (request, response) => {
    requests.push(request);
    if (request.method === 'PUT') return void response.end('{"status":"renewed"}');
    if (request.method === 'GET') return void response.writeHead(200, headers).end('{}');
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'lease' });
    response.write(formatRegisteredEvent(replica('r1', {}).id));
  };
  const http = createServer(listener);
  if (onUpgrade)
    http.on('upgrade', (request, stream) => {
      requests.push(request);
      onUpgrade(stream as PassThrough);
    });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const api = createApiClient(`http://127.0.0.1:${(http.address() as AddressInfo).port}`);
  cleanups.push(() => {
    api.close();
    http.closeAllConnections();
    http.close();
  });
  return { api, listRequests: () => requests.map(({ method, url, headers }) => [method, url, headers.upgrade]) };
}

/** Registers r1 as a keeper does that has several servers. */
async function register({ api }: Pick<Awaited<ReturnType<typeof startServer>>, 'api'>) {
  const [server] = await api.servers.get();
  if (!server) throw new Error('no server');
  const { signal } = new AbortController();
  await api.leases.findRegistry(server, signal);
  const lease = await api.leases.open(server, replica('r1', {}), { ttlMs: 9000 }, signal);
  cleanups.push(() => lease.body.destroy());
  return { ...lease, renew: () => api.leases.renew(lease, { state: 'ready' }, signal) };
}

const REGISTRY = { 'x-anyserve-registry': 'a' };
const RENEWED_REPLY = { reply: 'renewed', cordon: undefined };

describe('a registrant', () => {
  it('renews on the stream at an API server that takes renewals there', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    const api = createApiClient(server.url);
    cleanups.push(() => api.close());
    const lease = await register({ api });
    expect(lease.connection?.isOpenForRenewals).toBe(true);
    const events: string[] = [];
    lease.body.on('data', (bytes) => {
      events.push(String(bytes));
      if (String(bytes).includes(RENEWED_EVENT)) lease.connection?.handleEvent(RENEWED);
    });
    expect(await lease.renew()).toEqual(RENEWED_REPLY);
    expect(events.join('')).toContain(RENEWED_EVENT);
    lease.body.destroy();
    await until('the replica is removed', () => server.registry.replicas().length === 0);
  });

  it('registers without an upgrade, and renews with requests, if a proxy refuses the upgrade', async () => {
    const server = await startServer(REGISTRY, (socket) =>
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'),
    );
    const lease = await register(server);
    expect(lease.connection).toBeUndefined();
    expect(await lease.renew()).toEqual(RENEWED_REPLY);
    expect(server.listRequests()).toEqual([
      ['GET', '/health', undefined],
      ['POST', '/register', LEASE_PROTOCOL],
      ['POST', '/register', undefined],
      ['PUT', '/leases/lease', undefined],
    ]);
  });

  it('renews with requests if the server or a proxy ignores the upgrade', async () => {
    const server = await startServer(REGISTRY);
    const lease = await register(server);
    expect(lease.connection).toBeUndefined();
    expect(await lease.renew()).toEqual(RENEWED_REPLY);
    expect(server.listRequests()).toHaveLength(3);
  });

  it('asks no upgrade of a server that reports no registry, such as the Python server', async () => {
    const server = await startServer({});
    await register(server);
    expect(server.listRequests()).toEqual([
      ['GET', '/health', undefined],
      ['POST', '/register', undefined],
    ]);
  });
});
