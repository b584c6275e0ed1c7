import { afterEach, describe, expect, it, vi } from 'vitest';
import { BodyMemory } from '../../src/http/body-memory.js';
import { ListMemory } from '../../src/server/list-memory.js';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  type RawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { listPage, registration, serializedReplica } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

let server: TestApiServer;
const connections: RawConnection[] = [];

afterEach(async () => {
  for (const { socket } of connections.splice(0)) socket.destroy();
  await server.close();
});

function send(text: string): RawConnection {
  const connection = openRawConnection(server.port, text);
  connections.push(connection);
  return connection;
}

/** Registers over a raw connection, and waits for the response. */
async function register(id: string): Promise<RawConnection> {
  const connection = send(formatRegisterRequest(formatRegistrationBody(id)));
  await until('there is a response', () => /\r\n\r\n./s.test(connection.received()));
  return connection;
}

async function get(path: string) {
  const response = await fetch(`${server.url}${path}`);
  return { status: response.status, headers: response.headers, body: await response.text() };
}

describe('a registration over a limit', () => {
  it('is refused with the limit of replicas and a retry time, but a listed replica can register again', async () => {
    server = await startTestApiServer({ limits: { maxReplicas: 2, maxLeasesPerHost: 10 } });
    await register('r1');
    await register('r2');
    const refused = (await register('r3')).received();
    expect(refused).toMatch(/^HTTP\/1.1 503 .*retry-after: 5\r\n/s);
    expect(refused).toContain('{"detail":"the registry is full: it has 2 replicas, the maximum"}');
    expect((await register('r1')).received()).toContain('alive');
    expect(server.registry.replicas().map(({ id }) => id)).toEqual(['r1', 'r2']);
  });

  it('is refused when its address has the most leases allowed, until one of them ends', async () => {
    server = await startTestApiServer({ limits: { maxReplicas: 10, maxLeasesPerHost: 2 } });
    const first = await register('r1');
    await register('r2');
    const refused = (await register('r3')).received();
    expect(refused).toMatch(/^HTTP\/1.1 429 .*retry-after: 5\r\n/s);
    expect(refused).toContain('127.0.0.1 has 2 leases, the maximum for one host');
    expect((await register('r2')).received()).toContain('alive');
    first.socket.destroy();
    await until('r1 is removed', () => server.registry.replicas().length === 1);
    expect((await register('r3')).received()).toContain('alive');
  });
});

describe.each([
  ['a watch', '/watch', 'watches'],
  ['a followed stream of events', '/events?follow', 'event streams'],
])('%s', (_what, path, kind) => {
  /** Opens a stream from an address, and returns its connection when it has a response. */
  async function open(address: string, method = 'GET'): Promise<RawConnection> {
    const opened = openRawConnection(server.port, `${method} ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, address);
    connections.push(opened);
    await until('there is a response', () => opened.received().includes('\r\n\r\n'));
    return opened;
  }
  const openFromHere = (): Promise<RawConnection> => open('127.0.0.1');
  const getStatus = ({ received }: RawConnection): string =>
    received().slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length);

  it('is refused when its address has the most streams allowed, until one of them ends', async () => {
    server = await startTestApiServer({ maxStreamsPerPeer: 2 });
    const first = await openFromHere();
    expect([getStatus(first), getStatus(await openFromHere())]).toEqual(['200', '200']);
    for (const method of ['GET', 'HEAD']) {
      const refused = (await open('127.0.0.1', method)).received();
      expect(refused).toMatch(/^HTTP\/1.1 429 .*retry-after: 5\r\n/s);
      if (method === 'GET') expect(refused).toContain(`{"detail":"127.0.0.1 has 2 ${kind}, the maximum for one host"}`);
    }
    expect(getStatus(await open('127.0.0.2'))).toBe('200');
    first.socket.destroy();
    await until('there is room', async () => getStatus(await openFromHere()) === '200');
    expect(getStatus(await openFromHere())).toBe('429');
  });

  it('does not count leases, lists, HEAD requests and streams of the other kind', async () => {
    server = await startTestApiServer({ maxStreamsPerPeer: 1 });
    await register('r1');
    const other = path === '/watch' ? '/events?follow' : '/watch';
    const stream = send(`GET ${other} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('it is open', () => stream.received().includes('\r\n\r\n'));
    expect([(await get('/replicas')).status, (await get('/events')).status]).toEqual([200, 200]);
    for (let n = 0; n < 3; n++) expect(getStatus(await open('127.0.0.1', 'HEAD'))).toBe('200');
    expect(getStatus(await openFromHere())).toBe('200');
    expect((await register('r2')).received()).toContain('alive');
  });
});

describe('the bytes of registrations over the limit', () => {
  const formatSizedBody = (id: string): string => formatRegistrationBody(id, [{ padding: 'x'.repeat(250) }]);

  it('are refused for an address that holds a quarter of them, until one ends', async () => {
    server = await startTestApiServer({ limits: { maxReplicas: 10, maxLeasesPerHost: 10, maxBytes: 4 * 700 } });
    const first = send(formatRegisterRequest(formatSizedBody('r1')));
    await until('there is a lease', () => first.received().includes('alive'));
    const second = send(formatRegisterRequest(formatSizedBody('r2')));
    await until('there is a lease', () => second.received().includes('alive'));
    const refused = send(formatRegisterRequest(formatSizedBody('r3')));
    await until('there is a response', () => /\r\n\r\n./s.test(refused.received()));
    expect(refused.received()).toMatch(/^HTTP\/1.1 429 .*retry-after: 5\r\n/s);
    expect(refused.received()).toContain('the maximum for all registrations of 127.0.0.1 is 700 bytes');
    const again = send(formatRegisterRequest(formatSizedBody('r2')));
    await until('it replaces the older one', () => again.received().includes('alive'));
    first.socket.destroy();
    await until('r1 is removed', () => server.registry.replicas().length === 1);
    const third = send(formatRegisterRequest(formatSizedBody('r3')));
    await until('there is capacity', () => third.received().includes('alive'));
  });

  it('are refused for every address when all are in use', async () => {
    server = await startTestApiServer({ limits: { maxReplicas: 10, maxLeasesPerHost: 10, maxBytes: 4 * 700 } });
    for (const host of ['a', 'b', 'c', 'd']) {
      await server.registry.register(serializedReplica(host, { padding: 'x'.repeat(640) }), { host }, () => {});
    }
    const refused = send(formatRegisterRequest(formatSizedBody('r1')));
    await until('there is a response', () => /\r\n\r\n./s.test(refused.received()));
    expect(refused.received()).toMatch(/^HTTP\/1.1 503 .*retry-after: 5\r\n/s);
    expect(refused.received()).toContain('the maximum for all registrations is 2800 bytes');
  });
});

describe('large bodies', () => {
  const formatLargeBody = (id: string): string =>
    formatRegistrationBody(id, [{ a: 1 }, ...Array(300).fill({ padding: 'x'.repeat(200) })]);
  const sendUnfinished = (): RawConnection =>
    send(`POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(60_000)}`);

  it('share a limit, from their first byte until the response', async () => {
    const bodies = new BodyMemory(150_000);
    const hold = vi.spyOn(bodies, 'reserve');
    server = await startTestApiServer({ bodies });
    const lease = await server.registry.register(serializedReplica('held'), { host: 'h' }, () => {});
    const first = [sendUnfinished(), sendUnfinished()];
    await until('they are held', () => hold.mock.calls.filter(([, bytes]) => bytes === 60_000).length === 2);
    for (const text of [
      formatRegisterRequest(formatLargeBody('r1')),
      `PUT /leases/${lease} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n${'x'.repeat(60_000)}`,
    ]) {
      const refused = send(text);
      await until('it is refused', () => refused.received().includes('try again"}'));
      expect(refused.received()).toMatch(/^HTTP\/1.1 503 .*retry-after: 5\r\n/s);
    }
    expect((await register('small')).received()).toContain('alive');
    for (const { socket } of first) socket.destroy();
    // A lease does not keep the body of its registration.
    for (const id of ['r1', 'r2', 'r3', 'r4']) {
      await until(`${id} has a lease`, async () => {
        const again = send(formatRegisterRequest(formatLargeBody(id)));
        await until('there is a response', () => /\r\n\r\n./s.test(again.received()));
        return again.received().includes('alive');
      });
    }
  });

  it('are parsed one at a time, and other requests are handled in between', async () => {
    server = await startTestApiServer();
    const faulty = formatRegisterRequest(`{"capabilities":[${'1,'.repeat(4000)}1]}`);
    const registering = Array.from({ length: 50 }, () => send(faulty.slice(0, -1)));
    const asking = Array.from({ length: 20 }, () => send('GET /livez HTTP/1.1\r\nHost: x\r\n'));
    await get('/livez');
    await get('/livez');
    const statuses: string[] = [];
    for (const { socket } of registering) socket.once('data', () => statuses.push('422'));
    for (const { socket } of asking) socket.once('data', () => statuses.push('200'));
    for (const { socket } of registering) socket.write(faulty.slice(-1));
    for (const { socket } of asking) socket.write('\r\n');
    await until('all have a response', () => statuses.length === 70);
    expect(statuses.slice(0, 35).filter((status) => status === '200')).toHaveLength(20);
  });
});

describe('lists that are not read', () => {
  it('share a limit, except for a single list, and shared parts count once', async () => {
    server = await startTestApiServer({ lists: new ListMemory(1024 * 1024) });
    await server.registry.register(
      serializedReplica('r', { padding: 'x'.repeat(8 * 1024 * 1024) }),
      { host: 'h' },
      () => {},
    );
    const ask = async (path: string) => {
      const reader = send('');
      reader.socket.pause();
      reader.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until('there is a response', () => reader.socket.readableLength > 0 || reader.socket.bytesRead > 0);
      return reader;
    };
    const first = await ask('/replicas');
    expect((await get('/replicas')).status).toBe(503);
    expect((await get('/registry')).headers.get('retry-after')).toBe('5');
    first.socket.destroy();
    await until('there is capacity', async () => (await get('/replicas')).status === 200);
    await ask('/registry');
    expect((await get('/registry')).status).toBe(503);
  });
});

describe('an incomplete request', () => {
  it.each([
    ['its headers', 'POST /register HTTP/1.1\r\nHost: x\r\nX-A:'],
    ['its body', 'POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"replica_id":'],
  ])('with %s gets an error and is closed, and other leases stay', async (_what, beginning) => {
    server = await startTestApiServer({ requestTimeoutMs: 500, heartbeatMs: 50 });
    const lease = await register('r1');
    const { socket, received } = send(beginning);
    await until('it is closed', () => socket.closed || socket.readableEnded);
    expect(received()).toContain('HTTP/1.1 408 Request Timeout\r\n');
    const countBeats = (): number => lease.received().split('alive').length;
    const soFar = countBeats();
    await until('the lease is renewed', () => countBeats() > soFar + 10);
    expect(server.registry.replicas()).toHaveLength(1);
  });

  it('is refused for more than 100 headers', async () => {
    server = await startTestApiServer();
    const headers = Array.from({ length: 101 }, (_, n) => `X-${n}: 1\r\n`).join('');
    const { received } = send(`GET /health HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
    await until('there is a response', () => received().includes('{"detail":"the request has more than 100 headers"}'));
    expect(received()).toMatch(/^HTTP\/1.1 431 /);
  });
});

describe('a response that is not read', () => {
  it.each([
    ['the list', 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['many routes', 'GET /route HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(100_000)],
    ['many short responses', 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(100_000)],
    [
      'responses to invalid Expect headers',
      'GET /livez HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n'.repeat(100_000),
    ],
  ])('is cut off: %s', async (_what, requests) => {
    server = await startTestApiServer({ idleTimeoutMs: 300 });
    const registrations = Array.from({ length: 128 }, () =>
      registration('lease', serializedReplica('big', { type: 'chat' })),
    );
    const page = listPage(registrations);
    vi.spyOn(server.registry, 'pages').mockReturnValue(Array.from({ length: 1000 }, () => page));
    const { socket } = send(requests);
    socket.pause();
    // A client that does not read only notices the closed connection when it writes.
    await until('it is cut off', () => !socket.write('GET /livez HTTP/1.1\r\n\r\n') && socket.destroyed);
  });
});

describe('pipelined requests', () => {
  const COUNT = 300;

  it('are handled one after the other, as fast as the responses are read', async () => {
    server = await startTestApiServer();
    const registrations = Array.from({ length: 128 }, () =>
      registration('lease', serializedReplica('big', { type: 'chat' })),
    );
    const page = listPage(registrations);
    const bigList = Array.from({ length: 40 }, () => page);
    const asked = vi.spyOn(server.registry, 'pages').mockReturnValue(bigList);
    const { socket, received } = send('GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(COUNT));
    socket.pause();
    await until('the first is handled', () => asked.mock.calls.length > 0);
    await get('/livez');
    await get('/livez');
    expect(asked.mock.calls.length).toBeLessThan(COUNT / 2);
    bigList.length = 0;
    socket.resume();
    await until('all have a response', () => received().split('HTTP/1.1 200').length - 1 === COUNT);
  });

  it('all get a response, however they are split into packets', async () => {
    server = await startTestApiServer();
    const random = createSeededRandom(1);
    const kinds = [
      ['GET /livez HTTP/1.1\r\nHost: x\r\n\r\n', '200'],
      ['GET /route HTTP/1.1\r\nHost: x\r\n\r\n', '404'],
      [`GET /registry HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n${'x'.repeat(3000)}`, '200'],
      ['PUT /leases/none HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}', '404'],
      ['POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n', '422'],
      ['GET /livez HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n', '417'],
    ] as const;
    const requests = Array.from({ length: 2000 }, () => kinds[Math.floor(random.fraction() ** 2 * kinds.length)]);
    const { socket, received } = send('');
    socket.setNoDelay(true);
    let text = requests.map((request) => request?.[0]).join('');
    while (text !== '') {
      const length = Math.ceil(10 ** (random.fraction() * 5));
      const isTaken = socket.write(text.slice(0, length));
      text = text.slice(length);
      if (!isTaken) await new Promise((resolve) => socket.once('drain', resolve));
      if (random.fraction() < 0.3) await new Promise((resolve) => void setTimeout(resolve, 1));
    }
    const getStatuses = (): string[] => received().match(/(?<=HTTP.1.1 )\d+/g) ?? [];
    await until('all have a response', () => getStatuses().length === requests.length);
    expect(getStatuses()).toEqual(requests.map((request) => request?.[1]));
  });

  it('are handled in order', async () => {
    server = await startTestApiServer();
    const { received } = await register('r1');
    const two = JSON.stringify({ replica_id: 'r2', endpoint: 'h:1', capabilities: [{}], ttl: 9 });
    const leaseStream = send(formatRegisterRequest(two));
    await until('there is a lease', () => /x-anyserve-lease: (\S+)/i.test(leaseStream.received()));
    const lease = /x-anyserve-lease: (\S+)/i.exec(leaseStream.received())?.[1];
    const renewal = `PUT /leases/${lease} HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n{"state":"unready"}`;
    const asking = 'GET /route HTTP/1.1\r\nHost: x\r\nX-Anyserve-Exclude: r1\r\n\r\n';
    const release = `DELETE /leases/${lease} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const responses = send(`${asking}${renewal}${asking}${release}${renewal}`);
    await until('all have a response', () => responses.received().split('HTTP/1.1').length === 6);
    expect(responses.received().match(/(?<=HTTP.1.1 )\d+|(?<="replica_id":)"r\d"|(?<="status":)"\w+"/g)).toEqual([
      ...['200', '"r2"', '200', '"renewed"', '200', '"r1"', '200', '"released"', '404'],
    ]);
    expect(received()).toContain('alive');
  });

  it('can end with a registration', async () => {
    server = await startTestApiServer();
    const registering = formatRegisterRequest(formatRegistrationBody('r1'));
    const renewing = 'PUT /leases/none HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}';
    const { received } = send(`${'GET /route HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3)}${renewing}${registering}`);
    await until('it is granted', () => received().includes('"alive"'));
    expect(received().match(/HTTP\/1.1 \d+/g)).toEqual([...Array<string>(4).fill('HTTP/1.1 404'), 'HTTP/1.1 200']);
    expect(server.registry.replicas()).toMatchObject([{ id: 'r1' }]);
  });

  it('are handled on a reused connection', async () => {
    server = await startTestApiServer();
    const formatRequest = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const { socket, received } = send(formatRequest('/registry'));
    await until('the first has a response', () => received().includes('{"replicas":[]}'));
    socket.write(
      `${formatRequest('/route')}${formatRequest('/registry')}${formatRequest('/route')}${formatRequest('/health')}`,
    );
    await until('the last has a response', () => received().includes('healthy'));
    expect(
      received()
        .match(/HTTP\/1.1 \d+/g)
        ?.map((status) => status.slice(-3)),
    ).toEqual(['200', '404', '200', '404', '200']);
  });

  it('have no effect once their client has disconnected', async () => {
    server = await startTestApiServer();
    const lease = await register('r1');
    const behind = send(
      `${formatRegisterRequest(formatRegistrationBody('r2'))}${formatRegisterRequest(formatRegistrationBody('r3'))}`,
    );
    await until('r2 is listed', () => server.registry.replicas().length === 2);
    behind.socket.destroy();
    await until('r2 is removed', () => server.registry.replicas().length === 1);
    await get('/livez');
    expect(server.registry.replicas()).toMatchObject([{ id: 'r1' }]);
    expect(lease.received()).toContain('alive');
  });
});

describe('an API server', () => {
  it('is alive and ready', async () => {
    server = await startTestApiServer();
    expect(await get('/livez')).toMatchObject({ status: 200, body: '{"status":"alive"}' });
    expect(await get('/readyz')).toMatchObject({ status: 200, body: '{"status":"ready"}' });
  });

  it('is not ready while it drains, refuses registrations, handles requests, and ends its leases one by one', async () => {
    server = await startTestApiServer();
    const leases = await Promise.all(['r1', 'r2', 'r3', 'r4'].map(register));
    const closed = server.close({ drainMs: 4000 });
    await until('one is gone', () => server.registry.replicas().length < 4);
    expect(await get('/readyz')).toMatchObject({ status: 503, body: '{"status":"unready","reasons":["draining"]}' });
    expect(await get('/livez')).toMatchObject({ status: 200 });
    expect(await get('/route?type=chat')).toMatchObject({ status: 200 });
    // No proxy must reuse a connection that is about to be cut.
    const kept = openRawConnection(server.port, 'GET /route?type=chat HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is closed', () => kept.socket.readableEnded);
    expect(kept.received()).toMatch(/^HTTP\/1.1 200 OK\r\n.*\r\nConnection: close\r\n/s);
    const refused = await register('late');
    expect(refused.received()).toMatch(/^HTTP\/1.1 503 .*retry-after: 5\r\n/s);
    expect(refused.received()).toContain('this API server is not accepting registrations: draining');
    await closed;
    await until('all streams are closed', () => leases.every(({ socket }) => socket.readableEnded));
    expect(server.log.lines.filter((line) => line.includes(': shutdown'))).toHaveLength(4);
    server = await startTestApiServer();
  });

  it('does not wait when its drain is aborted', async () => {
    server = await startTestApiServer();
    const leases = await Promise.all(['r1', 'r2', 'r3'].map(register));
    const insisted = new AbortController();
    const closed = server.close({ drainMs: 1_000_000, signal: insisted.signal });
    insisted.abort();
    await closed;
    await until('all have the final event', () => leases.every(({ received }) => received().endsWith('\r\n0\r\n\r\n')));
    server = await startTestApiServer();
  });

  it('drains without a wait if it has no leases', async () => {
    server = await startTestApiServer();
    await server.close({ drainMs: 1_000_000 });
    server = await startTestApiServer();
  });

  it('says that no match can be temporary while it is warming', async () => {
    server = await startTestApiServer({ warmingMs: 2000 });
    const miss = await get('/route?type=chat');
    expect(miss).toMatchObject({ status: 404, body: '{"detail":"no matching replica"}' });
    expect([miss.headers.get('x-anyserve-warming'), miss.headers.get('retry-after')]).toEqual(['1', '1']);
    await until(
      'it has warmed up',
      async () => (await get('/route?type=chat')).headers.get('x-anyserve-warming') === null,
    );
  });
});
