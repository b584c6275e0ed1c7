import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from '../../src/client/api-client.js';
import { startTestApiServer } from '../support/api-server.js';
import { query, replica } from '../support/replicas.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function client(...servers: string[]): ApiClient {
  const api = new ApiClient(servers);
  cleanups.push(() => api.close());
  return api;
}

async function listening(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const http = (listener: RequestListener): Promise<string> => listening(createHttpServer(listener));
const tcp = (listener: (socket: Socket) => void): Promise<string> => listening(createTcpServer(listener));

describe('the API client', () => {
  it('finds a route and the list', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    const offered = replica('r1', { type: 'chat', n: 1 });
    await server.registry.register(offered, { host: '127.0.0.1' }, () => {});
    const api = client(`${server.url}/`);
    expect(await api.route(query({ type: 'chat', n: '1' }))).toEqual({
      kind: 'found',
      route: { endpoint: 'r1.test:50051', replicaId: 'r1' },
    });
    expect(await api.route(query({ type: 'embed' }))).toEqual({ kind: 'none', isWarming: false });
    expect(await api.replicas()).toEqual([offered]);
  });

  it('asks the next server when one cannot be reached, and stays with the one that answered', async () => {
    let asked = 0;
    const answering = await http((_request, response) => {
      asked++;
      response.end('{"endpoint":"a:1","replica_id":"r1"}');
    });
    const api = client('http://127.0.0.1:1', answering);
    expect(await api.route(query())).toMatchObject({ route: { endpoint: 'a:1', replicaId: 'r1' } });
    expect(await api.route(query())).toMatchObject({ route: { endpoint: 'a:1', replicaId: 'r1' } });
    expect(asked).toBe(2);
  });

  it.each<[string, () => Promise<string>, string, string]>([
    [
      'nothing listens',
      async () => 'http://127.0.0.1:1',
      'server_unreachable',
      'nothing listens there; is "anyserve serve" running?',
    ],
    ['the host is unknown', async () => 'http://no-such-host.invalid', 'server_unreachable', 'no such host'],
    ['it says nothing', () => tcp(() => {}), 'server_unreachable', 'no response in time'],
    ['it hangs up', () => tcp((socket) => socket.destroy()), 'server_unreachable', 'closed the connection'],
    ['it speaks something else', () => tcp((socket) => socket.end('SSH-2.0-x\r\n')), 'not_an_api_server', 'not HTTP'],
    ['it answers HTML', () => http((_request, response) => response.end('<html>')), 'not_an_api_server', 'HTTP 200'],
    [
      'it answers another 404',
      () => http((_request, response) => response.writeHead(404).end('nope')),
      'not_an_api_server',
      'HTTP 404',
    ],
    [
      'it is troubled',
      () => http((_request, response) => response.writeHead(500).end('x')),
      'server_unreachable',
      'HTTP 500',
    ],
    [
      'the body never ends',
      () => http((_request, response) => response.writeHead(200).write('{"endpoint"')),
      'server_unreachable',
      'no response in time',
    ],
  ])('says so when %s', async (_what, start, code, words) => {
    const api = client(await start());
    const failure = await api.route(query(), [], { timeoutMs: 300 }).catch((error) => error);
    expect(failure).toMatchObject({ code, message: expect.stringContaining(words) });
    expect(failure.message).not.toContain('\n');
  });

  it('ends with the reason of the signal that cancels it', async () => {
    const api = client(await tcp(() => {}));
    const reason = new Error('enough');
    await expect(api.route(query(), [], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const later = new AbortController();
    const asked = api.route(query(), [], { signal: later.signal });
    later.abort(reason);
    await expect(asked).rejects.toBe(reason);
  });

  it.each(['localhost:8080', 'ftp://x', ''])('refuses %j for a server', (server) => {
    expect(() => new ApiClient([server])).toThrow('is not an API server URL; give one like http://localhost:8080');
    expect(() => new ApiClient(['http://me:secret@api.test'])).toThrow(
      /^the URL of api\.test contains a user name or password/,
    );
  });
});
