import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { ids } from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { findFreePort } from '../support/free-port.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(port = 0): Promise<TestApiServer> {
  const server = await startTestApiServer({ port });
  cleanups.push(() => server.close());
  return server;
}

/** Creates a keeper of r1 with a manual clock, which starts at `startedMs`. */
function createKeeper(urls: readonly string[], { startedMs = 0 } = {}) {
  const api = createApiClient(urls);
  const clock = new ManualClock();
  clock.advance(startedMs);
  const changes: LeaseChange[] = [];
  const onChange = (change: LeaseChange): void => void changes.push(change);
  const options = {
    api,
    replica: replica('r1', { type: 'chat' }),
    instanceId: ids.createInstanceId(),
    clock,
    onChange,
  };
  const keeper = new LeaseKeeper({ ...options, random: createConstantRandom(0.5) });
  let failure: unknown;
  keeper.run().catch((error) => {
    failure = error;
  });
  cleanups.push(
    () => api.close(),
    () => keeper.stop(),
  );
  const listKinds = (): string[] => changes.map(({ kind }) => kind);
  return { keeper, clock, changes, listKinds, getFailure: () => failure };
}

function isListed({ registry }: TestApiServer): boolean {
  return registry.replicas().length > 0;
}

/** Starts an HTTP server that responds as a test says. */
async function startFake(respond: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(respond);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts a server of a registry with this id, which refuses every registration. */
function startRefusingServerOf(registry: string): Promise<string> {
  return startFake((request, response) => {
    response.setHeader('x-anyserve-registry', registry);
    if (request.method === 'GET') return void response.end('{"status":"healthy"}');
    response.writeHead(422).end('{"detail":[{"loc":["body","endpoint"],"msg":"no"}]}');
  });
}

/** Starts a server of a registry with this id, which grants leases and counts those that are open. */
async function startServerOf(getRegistry: () => string) {
  let open = 0;
  const url = await startFake((request, response) => {
    response.setHeader('x-anyserve-registry', getRegistry());
    if (request.method === 'GET') return void response.end('{"status":"healthy"}');
    if (request.method === 'PUT') return void response.end('{"status":"renewed"}');
    if (request.method === 'DELETE') return void response.end('{"status":"released"}');
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
    response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    open++;
    response.once('close', () => open--);
  });
  return { url, countOpen: () => open };
}

describe('a replica with several API servers', () => {
  it('is registered with each, and its lease at one server outlives the others', async () => {
    const [a, b] = [await startServer(await findFreePort()), await startServer()];
    const { changes, clock, listKinds } = createKeeper([a.url, b.url]);
    await until('it is registered with both', () => isListed(a) && isListed(b) && listKinds().length === 2);
    await a.close();
    await until('the loss is reported', () => listKinds().includes('lost'));
    expect(changes.at(-1)).toMatchObject({ kind: 'lost', server: a.url, registeredWith: [b.url] });
    const restarted = await startServer(a.port);
    await until('it is registered with the restarted server', () => {
      clock.advance(100);
      return isListed(restarted);
    });
    expect(isListed(b)).toBe(true);
  });

  it('reports an unreachable server once while it is registered elsewhere, and each attempt while it is not', async () => {
    const a = await startServer();
    const down = `http://127.0.0.1:${await findFreePort()}`;
    const { changes, clock } = createKeeper([a.url, down]);
    const countLosses = (): number => changes.filter(({ kind, server }) => kind === 'lost' && server === down).length;
    await until('it is registered', () => isListed(a));
    for (let n = 0; n < 5; n++) {
      await until('it waits for the next attempt', () => clock.pending().some((ms) => ms <= 8000));
      clock.advance(2000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(countLosses()).toBe(1);
    await a.close();
    await until('further attempts are reported', () => {
      clock.advance(500);
      return countLosses() > 2;
    });
  });

  it('is removed everywhere when its keeper stops', async () => {
    const [a, b] = [await startServer(), await startServer()];
    const { keeper } = createKeeper([a.url, b.url]);
    await until('it is registered with both', () => isListed(a) && isListed(b));
    await keeper.stop();
    await until('it is removed', () => !isListed(a) && !isListed(b), 1000);
  });

  it('updates its capabilities at each, and the update resolves when all have accepted it', async () => {
    const servers = [await startServer(), await startServer()];
    const { keeper } = createKeeper(servers.map(({ url }) => url));
    await until('it is registered with both', () => servers.every(isListed));
    await keeper.update({ capabilities: replica('r1', { model: 'b' }).capabilities });
    const listSources = ({ registry }: TestApiServer) => registry.replicas().map((one) => one.capabilities[0]?.source);
    expect(servers.flatMap(listSources)).toEqual(['{"model":"b"}', '{"model":"b"}']);
  });

  it('has drained when every server knows, or after 1 s', async () => {
    const a = await startServer();
    let isDeaf = false;
    const fake = await startFake((request, response) => {
      if (request.method === 'GET') return void response.end('{"status":"healthy"}');
      if (request.method === 'PUT') return isDeaf ? undefined : void response.end('{"status":"renewed"}');
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { keeper, clock, listKinds } = createKeeper([a.url, fake]);
    await until('it is registered with both', () => listKinds().length === 2);
    isDeaf = true;
    let isDrained = false;
    void keeper.drain().then(() => {
      isDrained = true;
    });
    await until('one server knows', () => [...a.registry.known()][0]?.registration.state === 'draining');
    expect(isDrained).toBe(false);
    clock.advance(1000);
    await until('it has drained', () => isDrained);
  });

  it('reports a server that refuses it once, and tries that again after 60 s', async () => {
    const a = await startServer();
    let asked = 0;
    const refusing = await startFake((request, response) => {
      if (request.method === 'GET') return void response.end();
      asked++;
      response.writeHead(422).end('{"detail":[{"loc":["body","endpoint"],"msg":"no"}]}');
    });
    const { changes, clock, getFailure } = createKeeper([refusing, a.url]);
    await until('both have responded', () => asked === 1 && isListed(a));
    await until('it waits', () => changes.length === 2);
    for (let s = 0; s < 59; s++) clock.advance(1000);
    expect(asked).toBe(1);
    await until('it is tried again', () => {
      clock.advance(1000);
      return asked === 2;
    });
    await until('it waits again', () => clock.pending().length > 0);
    expect(changes.filter(({ kind, server }) => kind === 'lost' && server === refusing)).toHaveLength(1);
    expect(getFailure()).toBeUndefined();
  });

  it('gives up when all servers refuse it', async () => {
    const refuse = (_request: IncomingMessage, response: ServerResponse) => void response.writeHead(404).end('nope');
    const { getFailure, changes } = createKeeper([await startFake(refuse), await startFake(refuse)]);
    await until('it gives up', () => getFailure() !== undefined);
    expect(getFailure()).toMatchObject({ code: 'not_an_api_server' });
    expect(changes.length).toBeLessThan(2);
  });

  it('does not give up while one server is down and the others refuse it', async () => {
    const refusing = await startFake((_request, response) => void response.writeHead(404).end('nope'));
    const { getFailure, listKinds } = createKeeper([refusing, `http://127.0.0.1:${await findFreePort()}`]);
    await until('both have failed', () => listKinds().length === 2);
    expect(getFailure()).toBeUndefined();
  });
});

describe('API servers that share a registry', () => {
  it('get one lease, which moves to the next server when one fails', async () => {
    let registry = 'one';
    const [a, b] = [await startServerOf(() => registry), await startServerOf(() => 'one')];
    const { clock } = createKeeper([a.url, b.url]);
    const countOpen = (): number => a.countOpen() + b.countOpen();
    await until('it is registered', () => countOpen() === 1);
    clock.advance(5000);
    expect(countOpen()).toBe(1);
    registry = 'two';
    await until('the server of another registry gets its own lease', () => {
      clock.advance(1000);
      return countOpen() === 2 || a.countOpen() === 1;
    });
  });

  it('get the lease without a delay when another one has refused it', async () => {
    const b = await startServerOf(() => 'one');
    const { clock } = createKeeper([await startRefusingServerOf('one'), b.url]);
    await until('the second has granted the lease', () => b.countOpen() === 1);
    expect(clock.nowMs()).toBe(0);
  });

  it('end the keeper when all refuse it', async () => {
    const { getFailure } = createKeeper([await startRefusingServerOf('one'), await startRefusingServerOf('one')]);
    await until('it gives up', () => getFailure() !== undefined);
    expect(getFailure()).toMatchObject({ code: 'unprocessable' });
  });

  it('get no registration while their registry is unknown and another server holds the lease', async () => {
    const a = await startServer();
    let registry = 'unknown';
    const b = await startServerOf(() => registry);
    const { clock } = createKeeper([a.url, b.url]);
    await until('it is registered with the first', () => isListed(a));
    for (let s = 0; s < 5; s++) {
      await until('it waits', () => clock.pending().length > 0);
      clock.advance(1000);
    }
    // The first attempt can be earlier than the first lease. It is not repeated.
    const openBefore = b.countOpen();
    expect(openBefore).toBeLessThanOrEqual(1);
    registry = 'two';
    await until('it is registered', () => {
      clock.advance(1000);
      return b.countOpen() === 1;
    });
  });
});

describe('two processes with one replica id', () => {
  it('converge: the one that started later has the id at all servers, and the other stands by', async () => {
    const [a, b] = [await startServer(), await startServer()];
    const first = createKeeper([a.url, b.url]);
    await until('the first is registered with both', () => isListed(a) && isListed(b));
    const second = createKeeper([b.url, a.url], { startedMs: 1000 });
    await until('the second is registered with both', () => second.listKinds().length === 2);
    await until('the first stands by', () => first.listKinds().at(-1) === 'superseded');
    expect(second.listKinds()).toEqual(['registered', 'registered']);
    await second.keeper.stop();
    for (let s = 0; s < 6; s++) {
      await until('it waits', () => first.clock.pending().length > 0);
      first.clock.advance(2000);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await until('the first is back at both', () => isListed(a) && isListed(b));
  });

  it('end with one winner when each takes the id from the other at one server', async () => {
    const [a, b] = [await startServer(), await startServer()];
    const first = createKeeper([a.url, b.url]);
    const second = createKeeper([b.url, a.url], { startedMs: 1 });
    const holders = (): (string | undefined)[] =>
      [a, b].map(({ registry }) => [...registry.known()][0]?.registration.instance?.id);
    const isSuperseded = (): boolean => [first, second].some(({ listKinds }) => listKinds().includes('superseded'));
    await until('one process has the id at both servers', () => {
      for (const { clock } of [first, second]) clock.advance(100);
      const [atA, atB] = holders();
      return isSuperseded() && atA !== undefined && atA === atB;
    });
    const winner = holders();
    for (let s = 0; s < 20; s++) {
      for (const { clock } of [first, second]) clock.advance(100);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(holders()).toEqual(winner);
  });
});

describe('independent API servers at one address', () => {
  it('do not end a lease: it is kept, and the problem is reported once', async () => {
    let turn = 0;
    const url = await startFake((request, response) => {
      if (request.method === 'GET') return void response.end();
      if (request.method === 'PUT') {
        const isOther = turn++ % 2 === 0;
        response.setHeader('x-anyserve-registry', isOther ? 'other' : 'own');
        return void response.writeHead(isOther ? 404 : 200).end();
      }
      const headers = { 'x-anyserve-registry': 'own', 'x-anyserve-lease': 'l1' };
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper([url]);
    await until('it is registered', () => listKinds().length === 1);
    await until('six renewals got a response', () => {
      clock.advance(500);
      return turn >= 6;
    });
    expect(listKinds()).toEqual(['registered', 'misrouted']);
  });

  it('lose the lease when the server that granted it never responds again', async () => {
    const url = await startFake((request, response) => {
      if (request.method === 'GET') return void response.end();
      if (request.method === 'PUT') return void response.writeHead(404, { 'x-anyserve-registry': 'other' }).end();
      const headers = { 'x-anyserve-registry': 'own', 'x-anyserve-lease': 'l1' };
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper([url]);
    await until('it is registered', () => listKinds().length === 1);
    await until('the lease is lost', async () => {
      clock.advance(500);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return listKinds().includes('lost');
    });
    expect(clock.nowMs()).toBeGreaterThanOrEqual(9000);
    expect(listKinds()).not.toContain('misrouted');
  });
});
