import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiClient } from '../../src/client/api-client.js';
import { summarizeExplanation } from '../../src/core/explanation-text.js';
import { createApiClient } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { formatReplicaList, replica, serializedReplica } from '../support/replicas.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(...capabilities: Parameters<typeof serializedReplica>[1][]): Promise<TestApiServer> {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  for (const [n, pairs] of capabilities.entries()) {
    await server.registry.register(serializedReplica(`r${n}`, pairs), { host: 'h' }, () => {});
  }
  return server;
}

/** Starts a server that records the targets of its requests. */
async function startFakeServer(respond: RequestListener): Promise<{ url: string; targets: string[] }> {
  const targets: string[] = [];
  const server = createServer((request, response) => {
    targets.push(request.url as string);
    respond(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(
    () => server.closeAllConnections(),
    () => server.close(),
  );
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, targets };
}

/** Starts a server with the paths of the Python server. */
function startPythonServer(...capabilities: Parameters<typeof replica>[1][]) {
  const list = formatReplicaList(capabilities.map((pairs, n) => replica(`p${n}`, pairs)));
  return startFakeServer(({ url }, response) => {
    if (url === '/registry') response.end(list);
    else response.writeHead(404).end('{"detail":"Not Found"}');
  });
}

function connect(...servers: { readonly url: string }[]): ApiClient {
  const api = createApiClient(servers.map(({ url }) => url));
  cleanups.push(() => api.close());
  return api;
}

const CHAT = ['type', 'chat'];

describe('a client asks for an explanation', () => {
  it('of each query, and fetches no list', async () => {
    const server = await startServer({ type: 'chat', gpu: 'a100' });
    const relay = await startFakeServer(async ({ url }, response) => {
      const { status, headers } = await fetch(`${server.url}${url}`);
      response.writeHead(status, { 'x-anyserve-registry': headers.get('x-anyserve-registry') ?? '' });
      response.end(await (await fetch(`${server.url}${url}`)).text());
    });
    const [first, second] = await connect(relay).explanations.explain([CHAT, ['gpu', 'h 1&0']]);
    expect(first).toMatchObject({ query: CHAT, replicaCount: 1, candidates: { count: 1, first: [{ id: 'r0' }] } });
    expect(second).toMatchObject({ query: ['gpu', 'h 1&0'], candidates: { count: 0 }, nearMiss: { offered: 'a100' } });
    expect(relay.targets).toEqual(['/explain?type=chat', '/explain?gpu=h+1%260']);
  });

  it('from all servers, and merges those of independent ones', async () => {
    const [a, b] = [await startServer({ type: 'x' }), await startServer({ type: 'x' }, { type: 'caht' })];
    const api = connect(a, b, { url: a.url.replace('127.0.0.1', 'localhost') });
    const [together] = await api.explanations.explain([CHAT]);
    expect(together && summarizeExplanation(together)?.text).toBe('did you mean type=caht?');
    expect(together?.replicaCount).toBe(2);
    const { servers, failures } = await api.explanations.explainEach([CHAT]);
    expect(servers.map(({ server, explanations }) => [server.name, explanations[0]?.replicaCount])).toEqual([
      [a.url, 1],
      [b.url, 2],
    ]);
    expect(failures).toEqual([]);
  });

  it('from the servers that respond, and fails if none does', async () => {
    const server = await startServer({ type: 'chat' });
    const busy = await startFakeServer((_request, response) => response.writeHead(503).end('{"detail":"too many"}'));
    const { servers, failures } = await connect(busy, server).explanations.explainEach([CHAT]);
    expect(servers.map((one) => one.server.name)).toEqual([server.url]);
    expect(failures.map(({ error }) => error.message)).toEqual([
      `the API server ${busy.url} responded with HTTP 503: too many`,
    ]);
    await expect(connect(busy).explanations.explain([CHAT])).rejects.toMatchObject({ code: 'server_unreachable' });
    // It is never asked again: an explanation is no reason to load a busy server.
    expect(busy.targets).toEqual(['/explain?type=chat', '/explain?type=chat']);
  });

  it('and explains the list of a server that makes none', async () => {
    const python = await startPythonServer({ type: 'chat' }, { type: 'embed' });
    const [explanation] = await connect(python).explanations.explain([CHAT]);
    expect(explanation).toMatchObject({ replicaCount: 2, candidates: { count: 1, first: [{ id: 'p0' }] } });
    expect(python.targets).toEqual(['/explain?type=chat', '/replicas', '/registry']);
  });

  it('and explains the lists of several such servers as one', async () => {
    const pythons = [await startPythonServer({ type: 'chat' }), await startPythonServer({ x: '1' }, { gpu: 'h100' })];
    const own = await startServer({ type: 'chat', gpu: 'a100' });
    const query = ['type', 'chat', 'gpu', 'h100'];
    const [explanation] = await connect(...pythons).explanations.explain([query]);
    // The lists are merged by id: p0 of the second server is the same replica.
    expect(explanation).toMatchObject({ replicaCount: 2, offeredBy: ['p0', 'p1'] });
    const [mixed] = await connect(own, ...pythons).explanations.explain([query]);
    expect(mixed).toMatchObject({ offeredBy: ['r0', 'p1'], nearMiss: { id: 'r0', offered: 'a100' } });
  });
});
