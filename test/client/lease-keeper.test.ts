import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import type { LeaseId } from '../../src/core/ids.js';
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

async function startApiServer(port = 0): Promise<TestApiServer> {
  const server = await startTestApiServer({ port });
  cleanups.push(() => server.close());
  return server;
}

/** Creates a lease keeper for r1 with a manual clock. */
function createKeeper(...servers: string[]) {
  return createKeeperWith(servers, {});
}

function createKeeperWith(servers: string[], options: { ready?: boolean }) {
  const api = createApiClient(servers);
  const clock = new ManualClock();
  const changes: LeaseChange[] = [];
  const keeper = new LeaseKeeper({
    api,
    replica: replica('r1', { type: 'chat' }),
    instanceId: ids.createInstanceId(),
    clock,
    random: createConstantRandom(0.5),
    onChange: (change) => changes.push(change),
    ...options,
  });
  let failure: unknown;
  keeper.run().catch((error) => {
    failure = error;
  });
  cleanups.push(
    () => api.close(),
    () => keeper.stop(),
  );
  const listKinds = (): string[] => changes.map(({ kind }) => kind);
  return { keeper, clock, changes, listKinds, failure: () => failure };
}

/** Starts an HTTP server that is not an API server, on a free port. */
async function startForeignServer(listener: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(listener as never);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts a server that grants only one-way leases, as the Python server does. `open` returns the number of leases. */
async function startOneWayServer(): Promise<{ readonly url: string; open(): number }> {
  let open = 0;
  const url = await startForeignServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    open++;
    response.once('close', () => open--);
  });
  return { url, open: () => open };
}

describe('LeaseKeeper', () => {
  it('registers the replica, and releases the lease on stop()', async () => {
    const server = await startApiServer();
    const { keeper, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().includes('registered'));
    expect(server.registry.replicas()).toHaveLength(1);
    await keeper.stop();
    await until('r1 is removed', () => server.registry.replicas().length === 0, 1000);
  });

  it('registers again, after a delay, when the server stops and starts again', async () => {
    const first = await startTestApiServer({ port: await findFreePort() });
    const { clock, changes, listKinds } = createKeeper(first.url);
    await until('r1 is registered', () => listKinds().includes('registered'));
    await first.close();
    await until('the loss is reported', () => listKinds().includes('lost'));
    expect(changes.at(-1)).toMatchObject({
      retryInMs: 500,
      error: { message: `lost the API server ${first.url}: it closed the stream` },
    });
    const second = await startApiServer(first.port);
    expect(second.registry.replicas()).toHaveLength(0);
    await until('it is waiting', () => clock.pending().length === 1);
    clock.advance(500);
    await until('r1 is back', () => second.registry.replicas().length === 1);
  });

  it('retries an unreachable server with increasing delays', async () => {
    const { clock, changes } = createKeeper('http://127.0.0.1:1');
    for (const [at, waitMs] of [500, 250, 500, 1000].entries()) {
      await until(`try ${at + 1} has failed`, () => changes.length === at + 1 && clock.pending().length === 1);
      expect(changes[at]).toMatchObject({ kind: 'lost', retryInMs: waitMs });
      clock.advance(waitMs);
    }
  });

  it('leaves the id to a replica that superseded it, and registers again once the id is free for 5 s', async () => {
    const server = await startApiServer();
    const first = createKeeper(server.url);
    await until('the first is registered', () => first.listKinds().includes('registered'));
    const second = createKeeper(server.url);
    await until('the second is registered', () => second.listKinds().includes('registered'));
    await until(
      'the first is superseded',
      () => first.listKinds().includes('superseded') && first.clock.pending().length === 1,
    );
    const advanceToNextCheck = async (): Promise<void> => {
      expect(first.clock.pending()).toEqual([2000]);
      first.clock.advance(2000);
      await until('it has checked', () => first.clock.pending().length === 1);
    };
    for (let looks = 0; looks < 4; looks++) await advanceToNextCheck();
    expect(second.listKinds()).toEqual(['registered']);
    await second.keeper.stop();
    await until('the id is free', () => server.registry.replicas().length === 0);
    await advanceToNextCheck();
    await advanceToNextCheck();
    await advanceToNextCheck();
    expect(first.clock.pending()).toEqual([1000]);
    expect(first.listKinds()).toEqual(['registered', 'superseded']);
    first.clock.advance(1000);
    await until('the first is back, when the id was free for 5 s', () => server.registry.replicas().length === 1);
  });

  it('keeps standing by while no server responds', async () => {
    const server = await startTestApiServer();
    const first = createKeeper(server.url);
    await until('the first is registered', () => first.listKinds().includes('registered'));
    const second = createKeeper(server.url);
    await until('the second is registered', () => second.listKinds().includes('registered'));
    await until('the first is superseded', () => first.changes.length === 2 && first.clock.pending().length === 1);
    await second.keeper.stop();
    await server.close();
    for (let looks = 0; looks < 5; looks++) {
      first.clock.advance(2000);
      await until('it has checked', () => first.clock.pending().length === 1);
    }
    expect(first.listKinds()).toEqual(['registered', 'superseded']);
  });

  it('treats a stream that was silent for 15 s as lost when the server is healthy', async () => {
    const { url } = await startOneWayServer();
    const { clock, changes, listKinds } = createKeeper(url);
    await until('r1 is registered', () => listKinds().includes('registered'));
    clock.advance(14_999);
    expect(listKinds()).toEqual(['registered']);
    clock.advance(1);
    await until('its server has responded', () => clock.pending().length === 1);
    clock.advance(1000);
    await until('the loss is reported', () => listKinds().includes('lost'));
    expect(changes.at(-1)).toMatchObject({ error: { message: expect.stringContaining('no event for 15 s') } });
  });

  it('keeps a silent stream for as long as the server does not respond to a health check', async () => {
    let isUnresponsive = true;
    let asked = 0;
    const unresponsive = await startForeignServer((request, response) => {
      if (request.url === '/health') {
        asked++;
        if (!isUnresponsive) response.end('{"status":"healthy"}');
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper(unresponsive);
    await until('r1 is registered', () => listKinds().includes('registered'));
    clock.advance(15_000);
    await until('the server is checked', () => asked === 1);
    await until('it has not responded', () => clock.pending().length === 1);
    expect(listKinds()).toEqual(['registered']);
    isUnresponsive = false;
    clock.advance(1000);
    await until('it has responded', () => asked === 2 && clock.pending().length === 1);
    clock.advance(1000);
    await until('the loss is reported', () => listKinds().includes('lost'));
  });

  it("keeps a silent stream that continues right after the server's health response", async () => {
    let continueStream = (): void => {};
    const paused = await startForeignServer((request, response) => {
      if (request.url === '/health') return void response.end('{"status":"healthy"}');
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
      continueStream = () => void response.write('data: {"status": "alive"}\n\n');
    });
    const { clock, listKinds } = createKeeper(paused);
    await until('r1 is registered', () => listKinds().includes('registered'));
    clock.advance(15_000);
    await until('the server has responded', () => clock.pending()[0] === 1000);
    continueStream();
    await until('the stream sends data', () => clock.pending()[0] === 15_000);
    clock.advance(14_000);
    expect(listKinds()).toEqual(['registered']);
  });

  it('gives up when the server refuses the registration', async () => {
    const refusing = await startForeignServer((_request, response) => {
      response
        .writeHead(422)
        .end('{"detail":[{"type":"x","loc":["body","endpoint"],"msg":"Field required","input":{}}]}');
    });
    const { failure } = createKeeper(refusing);
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({
      code: 'unprocessable',
      message: `${refusing} refuses the registration: endpoint: Field required`,
    });
  });

  it('gives up after the first attempt when the server is not an API server', async () => {
    const other = await startForeignServer((_request, response) => response.writeHead(200).end('<html>'));
    const { failure } = createKeeper(other);
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({ code: 'not_an_api_server' });
  });

  it('retries after a temporary error of the server', async () => {
    const troubled = await startForeignServer((_request, response) =>
      response.writeHead(503).end('{"detail":"stopping"}'),
    );
    const { changes, failure } = createKeeper(troubled);
    await until('the loss is reported', () => changes.length === 1);
    expect(changes[0]).toMatchObject({
      error: { message: `the API server ${troubled} responded with HTTP 503: stopping` },
    });
    expect(failure()).toBeUndefined();
  });
});

describe('a lease keeper of a replica that is not ready', () => {
  it('registers when the replica becomes ready, and reports its later states under the same lease', async () => {
    const server = await startApiServer();
    const { keeper, clock, listKinds } = createKeeperWith([server.url], { ready: false });
    const listStates = (): string[] => [...server.registry.known()].map(({ registration: { state } }) => state);
    expect(clock.pending()).toEqual([]);
    keeper.setReady(true);
    await until('r1 is registered', () => listKinds().length === 1);
    expect(listStates()).toEqual(['ready']);
    for (const [state, change] of [
      ['unready', () => keeper.setReady(false)],
      ['ready', () => keeper.setReady(true)],
      ['draining', () => keeper.drain()],
    ] as const) {
      change();
      await until(`r1 is ${state}`, () => listStates()[0] === state);
    }
    expect(listKinds()).toEqual(['registered']);
    await keeper.stop();
    expect(listStates()).toEqual([]);
    expect(server.log.lines.at(-1)).toContain('removed "r1": released');
    expect(clock.pending()).toEqual([]);
  });

  it('releases a one-way lease at once when the replica is not ready, without a report of the loss', async () => {
    const server = await startOneWayServer();
    const { keeper, clock, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => server.open() === 1 && listKinds().length === 1);
    keeper.setReady(false);
    await until('r1 is removed', () => server.open() === 0);
    await until('it is idle', () => clock.pending().length === 0);
    keeper.setReady(true);
    await until('r1 is back, without a delay', () => server.open() === 1);
    await until('the change is reported', () => listKinds().length === 2);
    expect(listKinds()).toEqual(['registered', 'registered']);
  });

  it('cancels a pending registration and a retry delay', async () => {
    let asked = 0;
    const closed: string[] = [];
    const slow = await startForeignServer((request) => {
      asked++;
      request.socket.once('close', () => closed.push('closed'));
    });
    const pending = createKeeper(slow);
    await until('it sends a request', () => asked === 1);
    pending.keeper.setReady(false);
    await until('the request is cancelled', () => closed.length === 1);
    expect(pending.listKinds()).toEqual([]);
    const waiting = createKeeper('http://127.0.0.1:1');
    await until('it is waiting', () => waiting.listKinds().length === 1 && waiting.clock.pending().length === 1);
    waiting.keeper.setReady(false);
    expect(waiting.clock.pending()).toEqual([]);
    waiting.keeper.setReady(true);
    await until('it retries without a delay', () => waiting.listKinds().length === 2);
  });

  it('does not take over an id from another replica when its own replica becomes ready again', async () => {
    const server = await startApiServer();
    const first = createKeeper(server.url);
    await until('the first is registered', () => first.listKinds().length === 1);
    const second = createKeeper(server.url);
    await until('the first is superseded', () => first.listKinds().length === 2 && first.clock.pending().length === 1);
    first.keeper.setReady(false);
    first.keeper.setReady(true);
    await until('it stands by', () => first.clock.pending().length === 1);
    expect([first.listKinds(), second.listKinds()]).toEqual([['registered', 'superseded'], ['registered']]);
  });

  it('ends on stop()', async () => {
    const { keeper } = createKeeperWith(['http://127.0.0.1:1'], { ready: false });
    await keeper.stop();
    await keeper.run();
    keeper.setReady(true);
    await keeper.run();
  });
});

describe('an update of the offered capabilities', () => {
  const withModels = (...models: string[]) => ({
    capabilities: replica('r1', ...models.map((model) => ({ model }))).capabilities,
  });
  const listSources = (server: TestApiServer): (string | undefined)[] =>
    server.registry.replicas().flatMap(({ capabilities }) => capabilities.map(({ source }) => source));

  it('is listed under the same lease; updates in quick succession are combined', async () => {
    const server = await startApiServer();
    const { keeper, clock, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().length === 1);
    const findLease = () => [...server.registry.known()][0]?.registration.lease;
    const before = findLease();
    await keeper.update(withModels('a'));
    expect(listSources(server)).toEqual(['{"model":"a"}']);
    let taken = false;
    void keeper.update(withModels('b'));
    void keeper.update(withModels('b', 'c')).then(() => {
      taken = true;
    });
    await until('the update was too early', () => clock.pending().includes(1000));
    expect([taken, listSources(server)]).toEqual([false, ['{"model":"a"}']]);
    // The server limits updates by real time. The keeper's retry delay is on the manual clock, so it is advanced until
    // the update is accepted.
    await until('it is accepted', () => {
      if (clock.pending().includes(1000)) clock.advance(1000);
      return taken;
    });
    expect(listSources(server)).toEqual(['{"model":"b"}', '{"model":"c"}']);
    expect([findLease() === before, listKinds()]).toEqual([true, ['registered', 'updated', 'updated']]);
  });

  it('leaves the previous offer in place when it is refused, also after a reconnect', async () => {
    const server = await startApiServer();
    const { keeper, clock, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().length === 1);
    const tooMany = Array.from({ length: 33 }, (_, n) => [`k${n}`, n]);
    const refused = keeper.update({ capabilities: replica('r1', Object.fromEntries(tooMany)).capabilities });
    await expect(refused).rejects.toMatchObject({
      code: 'unprocessable',
      message: expect.stringContaining('at most 32'),
    });
    await server.registry.release([...server.registry.known()][0]?.registration.lease as LeaseId, 'shutdown');
    await until('the loss is reported', () => listKinds().at(-1) === 'lost');
    clock.advance(1000);
    await until('r1 is back', () => listKinds().at(-1) === 'registered');
    expect(listSources(server)).toEqual(['{"type":"chat"}']);
  });

  it('survives a reconnect', async () => {
    const port = await findFreePort();
    const { keeper, clock, listKinds } = createKeeper(`http://127.0.0.1:${port}`);
    await until('the first try has failed', () => listKinds().includes('lost') && clock.pending().length === 1);
    const updated = keeper.update(withModels('a'));
    await startApiServer(port);
    clock.advance(500);
    await updated;
    await until('the change is reported', () => listKinds().length === 2);
    expect(listKinds()).toEqual(['lost', 'registered']);
  });

  it('at a server without lease ids, closes the stream and registers again once the id is no longer listed', async () => {
    const steps: string[] = [];
    let listings = 2;
    const url = await startForeignServer((request, response) => {
      if (request.method === 'GET') {
        const isRegistry = request.url === '/registry';
        if (!isRegistry) return void response.writeHead(404).end('{"detail":"Not Found"}');
        steps.push('looked');
        const replicas = listings-- > 0 ? [{ replica_id: 'r1', endpoint: 'h:1', capabilities: [] }] : [];
        return void response.writeHead(200).end(JSON.stringify({ replicas }));
      }
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        steps.push(`registered ${JSON.stringify(JSON.parse(body).capabilities)}`);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
        response.once('close', () => steps.push('closed'));
      });
    });
    const { keeper, clock, listKinds } = createKeeper(url);
    await until('r1 is registered', () => listKinds().length === 1);
    let taken = false;
    void keeper.update(withModels('a')).then(() => {
      taken = true;
    });
    await until('it is registered again', () => {
      if (!taken && clock.pending().includes(100)) clock.advance(100);
      return taken;
    });
    const looks = steps.filter((step) => step === 'looked');
    expect(looks).toHaveLength(3);
    expect(steps.filter((step) => step !== 'looked')).toEqual([
      'registered [{"type":"chat"}]',
      'closed',
      'registered [{"model":"a"}]',
    ]);
  });

  it('is rejected when the keeper stops before a server accepts it', async () => {
    const { keeper, listKinds } = createKeeper('http://127.0.0.1:1');
    await until('the first try has failed', () => listKinds().includes('lost'));
    const updated = keeper.update(withModels('a'));
    await keeper.stop();
    await expect(updated).rejects.toMatchObject({ code: 'interrupted' });
    await expect(keeper.update(withModels('b'))).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('a lease keeper that registers again', () => {
  it('declares the last state when the server supports states', async () => {
    const server = await startApiServer();
    const { keeper, clock, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().length === 1);
    const findRegistration = () => [...server.registry.known()][0]?.registration;
    keeper.setReady(false);
    await until('r1 is unready', () => findRegistration()?.state === 'unready');
    await server.registry.release(findRegistration()?.lease as LeaseId, 'shutdown');
    await until('the loss is reported', () => listKinds().at(-1) === 'lost');
    clock.advance(1000);
    await until('r1 is back', () => listKinds().at(-1) === 'registered');
    expect(findRegistration()?.state).toBe('unready');
    expect(server.log.lines).not.toContain('"r1" is ready');
    keeper.setReady(true);
    await until('r1 is ready', () => findRegistration()?.state === 'ready');
  });
});

describe('a two-way lease', () => {
  it('is renewed three times per TTL', async () => {
    const server = await startApiServer();
    const readRenewalTime = (): number | undefined => [...server.registry.known()][0]?.lease?.seenAtMs;
    const { clock, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().length === 1);
    for (let n = 0; n < 3; n++) {
      const before = readRenewalTime();
      await until('it is waiting', () => clock.pending().includes(3000));
      clock.advance(3000);
      await until('it is renewed', () => readRenewalTime() !== before);
    }
  });

  it('is granted again when the server no longer knows it', async () => {
    const server = await startApiServer();
    const { clock, changes, listKinds } = createKeeper(server.url);
    await until('r1 is registered', () => listKinds().length === 1);
    const lease = [...server.registry.known()][0]?.registration.lease as LeaseId;
    await server.registry.release(lease, 'expired');
    await until('the loss is reported', () => listKinds().includes('lost') && clock.pending().length === 1);
    clock.advance(changes.at(-1)?.kind === 'lost' ? 500 : 0);
    await until('r1 is back', () => server.registry.replicas().length === 1);
  });

  it('survives renewals without a response', async () => {
    let renewals = 0;
    const deaf = await startForeignServer((request, response) => {
      if (request.method === 'PUT') {
        renewals++;
        response.writeHead(500).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper(deaf);
    await until('r1 is registered', () => listKinds().length === 1);
    // After the first failure, renewals are sent at shorter intervals.
    for (const [at, waitMs] of [3000, 1000, 1000].entries()) {
      await until('it is waiting', () => clock.pending().includes(waitMs));
      clock.advance(waitMs);
      await until('it has tried once', () => renewals === at + 1);
    }
    expect(listKinds()).toEqual(['registered']);
  });

  it('is kept while its stream is silent and renewals succeed', async () => {
    let renewals = 0;
    let isDeaf = false;
    const quiet = await startForeignServer((request, response) => {
      if (request.url === '/health') return void response.end('{"status":"healthy"}');
      if (request.method === 'PUT') {
        renewals++;
        return void response.writeHead(isDeaf ? 500 : 200).end('{"status": "renewed"}');
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper(quiet);
    await until('r1 is registered', () => listKinds().length === 1);
    for (let n = 1; n <= 8; n++) {
      await until('it is waiting', () => clock.pending().includes(3000));
      clock.advance(3000);
      await until('it has renewed', () => renewals === n);
    }
    await until('it is waiting', () => clock.pending().includes(3000));
    expect(listKinds()).toEqual(['registered']);
    isDeaf = true;
    await until('the lease is lost', () => {
      clock.advance(1000);
      return listKinds().includes('lost');
    });
  });

  it('is superseded when the server reports it', async () => {
    const taken = await startForeignServer((request, response) => {
      if (request.method === 'PUT') return void response.writeHead(409).end();
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, listKinds } = createKeeper(taken);
    await until('r1 is registered', () => listKinds().length === 1 && clock.pending().includes(3000));
    clock.advance(3000);
    await until('it stands by', () => listKinds().at(-1) === 'superseded');
  });
});
