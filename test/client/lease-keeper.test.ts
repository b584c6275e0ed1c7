import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from '../../src/client/api-client.js';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import type { LeaseId } from '../../src/core/ids.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { constantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function apiServer(port = 0): Promise<TestApiServer> {
  const server = await startTestApiServer({ port });
  cleanups.push(() => server.close());
  return server;
}

/** A keeper of r1 whose time a test moves. */
function keeper(...servers: string[]) {
  return keeperOf(servers, {});
}

function keeperOf(servers: string[], options: { ready?: boolean }) {
  const api = new ApiClient(servers);
  const clock = new ManualClock();
  const changes: LeaseChange[] = [];
  const kept = new LeaseKeeper({
    api,
    replica: replica('r1', { type: 'chat' }),
    clock,
    random: constantRandom(0.5),
    onChange: (change) => changes.push(change),
    ...options,
  });
  let failure: unknown;
  kept.run().catch((error) => {
    failure = error;
  });
  cleanups.push(
    () => api.close(),
    () => kept.stop(),
  );
  const kinds = (): string[] => changes.map(({ kind }) => kind);
  return { kept, clock, changes, kinds, failure: () => failure };
}

/** Something else than an API server, on a free port. */
async function otherServer(listener: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(listener as never);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that grants one-way leases only, as the original does; `open` counts them. */
async function originalServer(): Promise<{ readonly url: string; open(): number }> {
  let open = 0;
  const url = await otherServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    open++;
    response.once('close', () => open--);
  });
  return { url, open: () => open };
}

describe('a lease keeper', () => {
  it('registers, and gives the lease back when it stops', async () => {
    const server = await apiServer();
    const { kept, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().includes('registered'));
    expect(server.registry.replicas()).toHaveLength(1);
    await kept.stop();
    await until('r1 is gone', () => server.registry.replicas().length === 0, 1000);
  });

  it('registers again after a wait when the server goes and comes back', async () => {
    const first = await startTestApiServer();
    const { clock, changes, kinds } = keeper(first.url);
    await until('r1 is registered', () => kinds().includes('registered'));
    await first.close();
    await until('the loss is told', () => kinds().includes('lost'));
    expect(changes.at(-1)).toMatchObject({
      retryInMs: 500,
      error: { message: `lost the API server ${first.url}: it closed the stream` },
    });
    const second = await apiServer(first.port);
    expect(second.registry.replicas()).toHaveLength(0);
    await until('it waits', () => clock.pending().length === 1);
    clock.advance(500);
    await until('r1 is back', () => second.registry.replicas().length === 1);
  });

  it('keeps trying a server that is not there, with longer and longer waits', async () => {
    const { clock, changes } = keeper('http://127.0.0.1:1');
    for (const [at, waitMs] of [500, 250, 500, 1000].entries()) {
      await until(`try ${at + 1} has failed`, () => changes.length === at + 1 && clock.pending().length === 1);
      expect(changes[at]).toMatchObject({ kind: 'lost', retryInMs: waitMs });
      clock.advance(waitMs);
    }
  });

  it('turns to the next server on each try', async () => {
    const server = await apiServer();
    const { clock, kinds } = keeper('http://127.0.0.1:1', server.url);
    await until('the first try has failed', () => kinds().includes('lost') && clock.pending().length === 1);
    clock.advance(500);
    await until('r1 is registered', () => kinds().includes('registered'));
  });

  it('does not fight back when it is superseded, and takes the id again once it is free', async () => {
    const server = await apiServer();
    const first = keeper(server.url);
    await until('the first is registered', () => first.kinds().includes('registered'));
    const second = keeper(server.url);
    await until('the second is registered', () => second.kinds().includes('registered'));
    await until('the first is told', () => first.kinds().includes('superseded') && first.clock.pending().length === 1);
    const look = async (): Promise<void> => {
      expect(first.clock.pending()).toEqual([2000]);
      first.clock.advance(2000);
      await until('it has looked', () => first.clock.pending().length === 1);
    };
    for (let looks = 0; looks < 4; looks++) await look();
    expect(second.kinds()).toEqual(['registered']);
    await second.kept.stop();
    await until('the id is free', () => server.registry.replicas().length === 0);
    await look();
    await look();
    await look();
    expect(first.clock.pending()).toEqual([1000]);
    expect(first.kinds()).toEqual(['registered', 'superseded']);
    first.clock.advance(1000);
    await until('the first is back, when nobody has had the id for 5 s', () => server.registry.replicas().length === 1);
  });

  it('stands by at the server that told it, and while that cannot be asked', async () => {
    const [a, b] = [await startTestApiServer(), await apiServer()];
    const first = keeper(a.url, b.url);
    await until('the first is registered', () => first.kinds().includes('registered'));
    const second = keeper(a.url);
    await until('the second is registered', () => second.kinds().includes('registered'));
    await until('the first is told', () => first.changes.length === 2 && first.clock.pending().length === 1);
    first.clock.advance(2000);
    await until('it has looked', () => first.clock.pending().length === 1);
    await second.kept.stop();
    await a.close();
    for (let looks = 0; looks < 5; looks++) {
      first.clock.advance(2000);
      await until('it has looked', () => first.clock.pending().length === 1);
    }
    expect(first.kinds()).toEqual(['registered', 'superseded']);
    expect(b.registry.replicas()).toHaveLength(0);
  });

  it('takes a stream that says nothing for 15 s for lost when its server is there', async () => {
    const { url } = await originalServer();
    const { clock, changes, kinds } = keeper(url);
    await until('r1 is registered', () => kinds().includes('registered'));
    clock.advance(14_999);
    expect(kinds()).toEqual(['registered']);
    clock.advance(1);
    await until('its server has answered', () => clock.pending().length === 1);
    clock.advance(1000);
    await until('the loss is told', () => kinds().includes('lost'));
    expect(changes.at(-1)).toMatchObject({ error: { message: expect.stringContaining('no event for 15 s') } });
  });

  it('holds a stream that says nothing for as long as its server stands still', async () => {
    let isStill = true;
    let asked = 0;
    const still = await otherServer((request, response) => {
      if (request.url === '/health') {
        asked++;
        if (!isStill) response.end('{"status":"healthy"}');
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, kinds } = keeper(still);
    await until('r1 is registered', () => kinds().includes('registered'));
    clock.advance(15_000);
    await until('the server is asked', () => asked === 1);
    await until('it has not answered', () => clock.pending().length === 1);
    expect(kinds()).toEqual(['registered']);
    isStill = false;
    clock.advance(1000);
    await until('it has answered', () => asked === 2 && clock.pending().length === 1);
    clock.advance(1000);
    await until('the loss is told', () => kinds().includes('lost'));
  });

  it('holds a stream that goes on right after its server has answered', async () => {
    let goOn = (): void => {};
    const paused = await otherServer((request, response) => {
      if (request.url === '/health') return void response.end('{"status":"healthy"}');
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
      goOn = () => void response.write('data: {"status": "alive"}\n\n');
    });
    const { clock, kinds } = keeper(paused);
    await until('r1 is registered', () => kinds().includes('registered'));
    clock.advance(15_000);
    await until('the server has answered', () => clock.pending()[0] === 1000);
    goOn();
    await until('the stream is heard', () => clock.pending()[0] === 15_000);
    clock.advance(14_000);
    expect(kinds()).toEqual(['registered']);
  });

  it('gives up when the server refuses the registration', async () => {
    const refusing = await otherServer((_request, response) => {
      response
        .writeHead(422)
        .end('{"detail":[{"type":"x","loc":["body","endpoint"],"msg":"Field required","input":{}}]}');
    });
    const { failure } = keeper(refusing);
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({
      code: 'unprocessable',
      message: `${refusing} refuses the registration: endpoint: Field required`,
    });
  });

  it('gives up at the first try when something else answers', async () => {
    const other = await otherServer((_request, response) => response.writeHead(200).end('<html>'));
    const { failure } = keeper(other);
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({ code: 'not_an_api_server' });
  });

  it('turns to the next server when something else answers at one', async () => {
    const other = await otherServer((_request, response) => response.writeHead(404).end('nope'));
    const server = await apiServer();
    const { clock, kinds } = keeper(other, server.url);
    await until('the first try has failed', () => kinds().includes('lost') && clock.pending().length === 1);
    clock.advance(500);
    await until('r1 is registered', () => kinds().includes('registered'));
  });

  it('tries again when a server has passing troubles', async () => {
    const troubled = await otherServer((_request, response) => response.writeHead(503).end('{"detail":"stopping"}'));
    const { changes, failure } = keeper(troubled);
    await until('the loss is told', () => changes.length === 1);
    expect(changes[0]).toMatchObject({
      error: { message: `the API server ${troubled} responded with HTTP 503: stopping` },
    });
    expect(failure()).toBeUndefined();
  });
});

describe('a lease keeper of a replica that is not ready', () => {
  it('holds no lease until it is ready, and then keeps it and says how the replica is', async () => {
    const server = await apiServer();
    const { kept, clock, kinds } = keeperOf([server.url], { ready: false });
    const states = (): string[] => [...server.registry.known()].map(({ registration: { state } }) => state);
    expect(clock.pending()).toEqual([]);
    kept.setReady(true);
    await until('r1 is registered', () => kinds().length === 1);
    expect(states()).toEqual(['ready']);
    for (const [state, change] of [
      ['unready', () => kept.setReady(false)],
      ['ready', () => kept.setReady(true)],
      ['draining', () => kept.drain()],
    ] as const) {
      change();
      await until(`r1 is ${state}`, () => states()[0] === state);
    }
    expect(kinds()).toEqual(['registered']);
    await kept.stop();
    expect(states()).toEqual([]);
    expect(server.log.lines.at(-1)).toContain('removed "r1": released');
    expect(clock.pending()).toEqual([]);
  });

  it('gives a one-way lease back at once when it is not ready, and says nothing of that', async () => {
    const server = await originalServer();
    const { kept, clock, kinds } = keeper(server.url);
    await until('r1 is registered', () => server.open() === 1 && kinds().length === 1);
    kept.setReady(false);
    await until('r1 is gone', () => server.open() === 0);
    await until('it rests', () => clock.pending().length === 0);
    kept.setReady(true);
    await until('r1 is back, without a wait', () => server.open() === 1);
    await until('that is told', () => kinds().length === 2);
    expect(kinds()).toEqual(['registered', 'registered']);
  });

  it('calls off a registration that is under way, and a wait for the next try', async () => {
    let asked = 0;
    const closed: string[] = [];
    const slow = await otherServer((request) => {
      asked++;
      request.socket.once('close', () => closed.push('closed'));
    });
    const pending = keeper(slow);
    await until('it asks', () => asked === 1);
    pending.kept.setReady(false);
    await until('the request is called off', () => closed.length === 1);
    expect(pending.kinds()).toEqual([]);
    const waiting = keeper('http://127.0.0.1:1');
    await until('it waits', () => waiting.kinds().length === 1 && waiting.clock.pending().length === 1);
    waiting.kept.setReady(false);
    expect(waiting.clock.pending()).toEqual([]);
    waiting.kept.setReady(true);
    await until('it tries again, without a wait', () => waiting.kinds().length === 2);
  });

  it('comes back to the server it left', async () => {
    const [a, b] = [await originalServer(), await originalServer()];
    const { kept, kinds } = keeper(a.url, b.url);
    await until('r1 is registered', () => kinds().length === 1);
    kept.setReady(false);
    await until('r1 is gone', () => a.open() === 0);
    kept.setReady(true);
    await until('r1 is back', () => kinds().length === 2);
    expect([a.open(), b.open()]).toEqual([1, 0]);
  });

  it('does not take back an id that another has taken only because it is ready again', async () => {
    const server = await apiServer();
    const first = keeper(server.url);
    await until('the first is registered', () => first.kinds().length === 1);
    const second = keeper(server.url);
    await until('the first is told', () => first.kinds().length === 2 && first.clock.pending().length === 1);
    first.kept.setReady(false);
    first.kept.setReady(true);
    await until('it stands by', () => first.clock.pending().length === 1);
    expect([first.kinds(), second.kinds()]).toEqual([['registered', 'superseded'], ['registered']]);
  });

  it('ends when it is told to stop', async () => {
    const { kept } = keeperOf(['http://127.0.0.1:1'], { ready: false });
    await kept.stop();
    await kept.run();
    kept.setReady(true);
    await kept.run();
  });
});

describe('an update of what a replica offers', () => {
  const offering = (...models: string[]) => ({
    capabilities: replica('r1', ...models.map((model) => ({ model }))).capabilities,
  });
  const listed = (server: TestApiServer): (string | undefined)[] =>
    server.registry.replicas().flatMap(({ capabilities }) => capabilities.map(({ source }) => source));

  it('is in the list under the same lease, and quick ones become one', async () => {
    const server = await apiServer();
    const { kept, clock, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().length === 1);
    const lease = () => [...server.registry.known()][0]?.registration.lease;
    const before = lease();
    await kept.update(offering('a'));
    expect(listed(server)).toEqual(['{"model":"a"}']);
    let taken = false;
    void kept.update(offering('b'));
    void kept.update(offering('b', 'c')).then(() => {
      taken = true;
    });
    await until('it was too soon', () => clock.pending().includes(1000));
    expect([taken, listed(server)]).toEqual([false, ['{"model":"a"}']]);
    // The server's second is a real one, and the keeper's goes on as often as it takes.
    await until('it is taken', () => {
      if (clock.pending().includes(1000)) clock.advance(1000);
      return taken;
    });
    expect(listed(server)).toEqual(['{"model":"b"}', '{"model":"c"}']);
    expect([lease() === before, kinds()]).toEqual([true, ['registered', 'updated', 'updated']]);
  });

  it('that is refused leaves the offer before in its place, also after a reconnect', async () => {
    const server = await apiServer();
    const { kept, clock, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().length === 1);
    const tooMany = Array.from({ length: 33 }, (_, n) => [`k${n}`, n]);
    const refused = kept.update({ capabilities: replica('r1', Object.fromEntries(tooMany)).capabilities });
    await expect(refused).rejects.toMatchObject({
      code: 'unprocessable',
      message: expect.stringContaining('at most 32'),
    });
    await server.registry.release([...server.registry.known()][0]?.registration.lease as LeaseId, 'shutdown');
    await until('the loss is told', () => kinds().at(-1) === 'lost');
    clock.advance(1000);
    await until('r1 is back', () => kinds().at(-1) === 'registered');
    expect(listed(server)).toEqual(['{"type":"chat"}']);
  });

  it('survives a reconnect', async () => {
    const { kept, clock, kinds } = keeper('http://127.0.0.1:1', (await apiServer()).url);
    await until('the first try has failed', () => kinds().includes('lost') && clock.pending().length === 1);
    const updated = kept.update(offering('a'));
    clock.advance(500);
    await updated;
    await until('that is told', () => kinds().length === 2);
    expect(kinds()).toEqual(['lost', 'registered']);
  });

  it('has a server without lease ids left, and registered with once it lists the id no more', async () => {
    const steps: string[] = [];
    let listings = 2;
    const url = await otherServer((request, response) => {
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
    const { kept, clock, kinds } = keeper(url);
    await until('r1 is registered', () => kinds().length === 1);
    let taken = false;
    void kept.update(offering('a')).then(() => {
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

  it('is rejected when the keeper stops before anyone has taken it', async () => {
    const { kept, kinds } = keeper('http://127.0.0.1:1');
    await until('the first try has failed', () => kinds().includes('lost'));
    const updated = kept.update(offering('a'));
    await kept.stop();
    await expect(updated).rejects.toMatchObject({ code: 'interrupted' });
    await expect(kept.update(offering('b'))).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('a keeper that registers again', () => {
  it('registers in the state that it has declared, where the server knows states', async () => {
    const server = await apiServer();
    const { kept, clock, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().length === 1);
    const registration = () => [...server.registry.known()][0]?.registration;
    kept.setReady(false);
    await until('r1 is unready', () => registration()?.state === 'unready');
    await server.registry.release(registration()?.lease as LeaseId, 'shutdown');
    await until('the loss is told', () => kinds().at(-1) === 'lost');
    clock.advance(1000);
    await until('r1 is back', () => kinds().at(-1) === 'registered');
    expect(registration()?.state).toBe('unready');
    expect(server.log.lines).not.toContain('"r1" is ready');
    kept.setReady(true);
    await until('r1 is ready', () => registration()?.state === 'ready');
  });
});

describe('a two-way lease', () => {
  it('is renewed three times in the time it lasts', async () => {
    const server = await apiServer();
    const seenAt = (): number | undefined => [...server.registry.known()][0]?.lease?.seenAtMs;
    const { clock, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().length === 1);
    for (let n = 0; n < 3; n++) {
      const before = seenAt();
      await until('it waits', () => clock.pending().includes(3000));
      clock.advance(3000);
      await until('it is renewed', () => seenAt() !== before);
    }
  });

  it('is taken anew when the server knows nothing of it any more', async () => {
    const server = await apiServer();
    const { clock, changes, kinds } = keeper(server.url);
    await until('r1 is registered', () => kinds().length === 1);
    const lease = [...server.registry.known()][0]?.registration.lease as LeaseId;
    await server.registry.release(lease, 'expired');
    await until('the loss is told', () => kinds().includes('lost') && clock.pending().length === 1);
    clock.advance(changes.at(-1)?.kind === 'lost' ? 500 : 0);
    await until('r1 is back', () => server.registry.replicas().length === 1);
  });

  it('outlives renewals that are not answered', async () => {
    let renewals = 0;
    const deaf = await otherServer((request, response) => {
      if (request.method === 'PUT') {
        renewals++;
        response.writeHead(500).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, kinds } = keeper(deaf);
    await until('r1 is registered', () => kinds().length === 1);
    // After the first that fails, the next come sooner.
    for (const [at, waitMs] of [3000, 1000, 1000].entries()) {
      await until('it waits', () => clock.pending().includes(waitMs));
      clock.advance(waitMs);
      await until('it has tried', () => renewals === at + 1);
    }
    expect(kinds()).toEqual(['registered']);
  });

  it('is held though its stream says nothing, while renewals are answered', async () => {
    let renewals = 0;
    let isDeaf = false;
    const quiet = await otherServer((request, response) => {
      if (request.url === '/health') return void response.end('{"status":"healthy"}');
      if (request.method === 'PUT') {
        renewals++;
        return void response.writeHead(isDeaf ? 500 : 200).end('{"status": "renewed"}');
      }
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, kinds } = keeper(quiet);
    await until('r1 is registered', () => kinds().length === 1);
    for (let n = 1; n <= 8; n++) {
      await until('it waits', () => clock.pending().includes(3000));
      clock.advance(3000);
      await until('it has renewed', () => renewals === n);
    }
    await until('it waits', () => clock.pending().includes(3000));
    expect(kinds()).toEqual(['registered']);
    isDeaf = true;
    for (let n = 0; n < 40 && !kinds().includes('lost'); n++) {
      clock.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(kinds()).toContain('lost');
  });

  it('is superseded when the server says so', async () => {
    const taken = await otherServer((request, response) => {
      if (request.method === 'PUT') return void response.writeHead(409).end();
      response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
      response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    });
    const { clock, kinds } = keeper(taken);
    await until('r1 is registered', () => kinds().length === 1 && clock.pending().includes(3000));
    clock.advance(3000);
    await until('it stands by', () => kinds().at(-1) === 'superseded');
  });
});
