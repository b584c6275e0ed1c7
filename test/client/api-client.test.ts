import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiClient } from '../../src/client/api-client.js';
import { asReplicaId } from '../../src/core/ids.js';
import { createApiClient, listReplicas } from '../support/api-client.js';
import { startTestApiServer } from '../support/api-server.js';
import { query, serializedReplica } from '../support/replicas.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function createClient(...servers: string[]): ApiClient {
  const api = createApiClient(servers);
  cleanups.push(() => api.close());
  return api;
}

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const startHttpServer = (listener: RequestListener): Promise<string> => listen(createHttpServer(listener));
const startTcpServer = (listener: (socket: Socket) => void): Promise<string> => listen(createTcpServer(listener));

describe('ApiClient', () => {
  it('requests a route and the list of replicas', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    const offered = serializedReplica('r1', { type: 'chat', n: 1 });
    await server.registry.register(offered, { host: '127.0.0.1' }, () => {});
    const api = createClient(`${server.url}/`);
    expect(await api.route(query({ type: 'chat', n: '1' }))).toEqual({
      kind: 'found',
      route: { endpoint: 'r1.test:50051', replicaId: 'r1' },
    });
    expect(await api.route(query({ type: 'embed' }))).toEqual({ kind: 'none', isWarming: false });
    expect(await listReplicas(api)).toEqual([offered]);
  });

  it('tries the next server when one is unreachable, and stays with the server that responded', async () => {
    let pendingRoute = 0;
    const responding = await startHttpServer((_request, response) => {
      pendingRoute++;
      response.end('{"endpoint":"a:1","replica_id":"r1"}');
    });
    const api = createClient('http://127.0.0.1:1', responding);
    expect(await api.route(query())).toMatchObject({ route: { endpoint: 'a:1', replicaId: 'r1' } });
    expect(await api.route(query())).toMatchObject({ route: { endpoint: 'a:1', replicaId: 'r1' } });
    expect(pendingRoute).toBe(2);
  });

  it.each<[string, () => Promise<string>, string, string]>([
    [
      'nothing listens',
      async () => 'http://127.0.0.1:1',
      'server_unreachable',
      'nothing listens there; is "anyserve serve" running?',
    ],
    ['the host is unknown', async () => 'http://no-such-host.invalid', 'server_unreachable', 'no such host'],
    ['the server does not respond', () => startTcpServer(() => {}), 'server_unreachable', 'no response in time'],
    [
      'the server closes the connection',
      () => startTcpServer((socket) => socket.destroy()),
      'server_unreachable',
      'closed the connection',
    ],
    [
      'the server uses another protocol',
      () => startTcpServer((socket) => socket.end('SSH-2.0-x\r\n')),
      'not_an_api_server',
      'not HTTP',
    ],
    [
      'the response is HTML',
      () => startHttpServer((_request, response) => response.end('<html>')),
      'not_an_api_server',
      'HTTP 200',
    ],
    [
      'the response is the 404 of another program',
      () => startHttpServer((_request, response) => response.writeHead(404).end('nope')),
      'not_an_api_server',
      'HTTP 404',
    ],
    [
      'the server has an internal error',
      () => startHttpServer((_request, response) => response.writeHead(500).end('x')),
      'server_unreachable',
      'HTTP 500',
    ],
    [
      'the body never ends',
      () => startHttpServer((_request, response) => response.writeHead(200).write('{"endpoint"')),
      'server_unreachable',
      'no response in time',
    ],
  ])('reports a clear error when %s', async (_what, start, code, words) => {
    const api = createClient(await start());
    const failure = await api.route(query(), [], { timeoutMs: 1000 }).catch((error) => error);
    expect(failure).toMatchObject({ code, message: expect.stringContaining(words) });
    expect(failure.message).not.toContain('\n');
  });

  it('reports a server that is too slow for a request to all servers as one without a response', async () => {
    const done = '{"replica_id":"r1","cordon":{"cordoned":true,"reason":"","at":1},"repeated_by_replica":true}';
    const fast = await startHttpServer((_request, response) => response.end(done));
    const api = createClient(await startTcpServer(() => {}), fast);
    const { failures } = await api.cordons.set(asReplicaId('r1'), { cordoned: true, reason: '' });
    expect(failures.map(({ error }) => error.message)).toEqual([expect.stringContaining(': no response in time')]);
  });

  it('rejects with the abort reason of its signal', async () => {
    const api = createClient(await startTcpServer(() => {}));
    const reason = new Error('enough');
    await expect(api.route(query(), [], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const later = new AbortController();
    const pendingRoute = api.route(query(), [], { signal: later.signal });
    later.abort(reason);
    await expect(pendingRoute).rejects.toBe(reason);
  });

  it.each(['localhost:8080', 'ftp://x', ''])('rejects %j as a server URL', (server) => {
    expect(() => createApiClient(server)).toThrow('is not an API server URL; give one like http://localhost:8080');
    expect(() => createApiClient('http://me:secret@api.test')).toThrow(
      /^the URL of api\.test contains a user name or password/,
    );
  });
});
