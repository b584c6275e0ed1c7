import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asReplicaId } from '../../src/core/ids.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  type RawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { until } from '../support/until.js';

let server: TestApiServer;
let connections: RawConnection[];

beforeEach(async () => {
  connections = [];
  server = await startTestApiServer();
});

afterEach(async () => {
  for (const { socket } of connections) socket.destroy();
  await server.close();
});

interface SentEvent {
  readonly seq: number;
  readonly at: number;
  readonly kind: string;
  readonly replica_id?: string;
}

interface SentHistory {
  readonly epoch: string;
  readonly events: readonly SentEvent[];
}

async function getEvents(search = ''): Promise<SentHistory> {
  const response = await fetch(`${server.url}/events${search}`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
  return (await response.json()) as SentHistory;
}

/** Returns the kinds and ids of the events, such as `removed r1`. */
const name = ({ kind, replica_id = '-' }: SentEvent): string => `${kind} ${replica_id}`;

const listNames = async (search?: string): Promise<string[]> => (await getEvents(search)).events.map(name);

/** Opens a connection that the test closes. */
function connect(text: string): RawConnection {
  const connection = openRawConnection(server.port, text);
  connections.push(connection);
  return connection;
}

/** Emits an event about a replica, without a registration. */
const emit = (id: string): void => server.events.emit({ kind: 'id_conflict', replicaId: asReplicaId(id) });

/** Registers a replica, and returns the connection of its lease. */
async function register(id: string): Promise<RawConnection> {
  const connection = connect(formatRegisterRequest(formatRegistrationBody(id)));
  await until('it is registered', () => connection.received().includes('"registered"'));
  return connection;
}

/** Opens a stream of events over HTTP/1.0, which has no chunks. */
const follow = (search = '', headers = ''): RawConnection =>
  connect(`GET /events?follow${search} HTTP/1.0\r\nHost: x\r\n${headers}\r\n`);

/** Returns the events that a stream has received. */
function readFrames({ received }: RawConnection): { id: string; event: string; data: SentEvent }[] {
  return (
    received()
      .split('\r\n\r\n')
      .slice(1)
      .join('')
      .split('\n\n')
      // What follows the last blank line is incomplete.
      .slice(0, -1)
      .flatMap((frame) => {
        const [, id = '', event = '', data] = /^(?:id: (.*)\n)?event: (.*)\ndata: (.*)$/.exec(frame) ?? [];
        return data === undefined ? [] : [{ id, event, data: JSON.parse(data) as SentEvent }];
      })
  );
}

const waitForFrames = (connection: RawConnection, names: readonly string[]): Promise<void> =>
  until(
    () => `${connection.received()} has the events ${names}`,
    () =>
      readFrames(connection)
        .map(({ data }) => name(data))
        .join() === names.join(),
  );

describe('GET /events', () => {
  it('lists what happened to replicas, oldest first, with numbers and times', async () => {
    expect((await getEvents()).events).toEqual([]);
    const startedAtMs = Date.now();
    const { socket } = await register('r1');
    await fetch(`${server.url}/register`, { method: 'POST', body: '{"replica_id":"r2"}' });
    socket.end();
    await until('it is removed', () => server.registry.find(asReplicaId('r1')) === undefined);
    const { events, epoch } = await getEvents();
    expect(events).toEqual([
      { seq: 1, at: expect.any(Number), kind: 'registered', replica_id: 'r1', endpoint: 'r1.test:1' },
      {
        seq: 2,
        at: expect.any(Number),
        kind: 'registration_refused',
        code: 'unprocessable',
        reason: 'Input should be a valid dictionary or object to extract fields from',
        host: '127.0.0.1',
      },
      {
        seq: 3,
        at: expect.any(Number),
        kind: 'removed',
        replica_id: 'r1',
        reason: 'closed',
        host: '127.0.0.1',
        lived_ms: expect.any(Number),
        silent_ms: expect.any(Number),
      },
    ]);
    for (const { at } of events) expect([at >= startedAtMs, at <= Date.now()]).toEqual([true, true]);
    expect(epoch).toMatch(/^[\w-]{36}$/);
  });

  it('filters by replica, kind and number, and shows the newest of a limited number', async () => {
    const { socket } = await register('r1');
    await register('r2');
    socket.end();
    await until('it is removed', () => server.registry.find(asReplicaId('r1')) === undefined);
    expect(await listNames('?replica_id=r1')).toEqual(['registered r1', 'removed r1']);
    expect(await listNames('?kind=removed')).toEqual(['removed r1']);
    expect(await listNames('?kind=removed&kind=registered&since=1')).toEqual(['registered r2', 'removed r1']);
    expect(await listNames('?since=3')).toEqual([]);
    expect(await listNames('?limit=2')).toEqual(['registered r2', 'removed r1']);
    expect(await listNames('?limit=0')).toEqual([]);
    expect(await listNames('?limit=1&replica_id=r2')).toEqual(['registered r2']);
  });

  it('lists all events since a number that only an earlier process of the server has reached', async () => {
    await register('r1');
    expect(await listNames('?since=17')).toEqual(['registered r1']);
  });

  it.each(['?kind=x', '?since=x', '?limit=-1', '?follow&kind=x'])('%s is a bad request', async (search) => {
    const response = await fetch(`${server.url}/events${search}`);
    expect([response.status, await response.json()]).toEqual([400, { detail: expect.any(String) }]);
  });

  it('responds to a HEAD as to a GET, without a body', async () => {
    await register('r1');
    const [head, get] = await Promise.all(['HEAD', 'GET'].map((method) => fetch(`${server.url}/events`, { method })));
    const body = (await get?.text()) ?? '';
    expect(head?.headers.get('content-length')).toBe(`${Buffer.byteLength(body)}`);
    const stream = await fetch(`${server.url}/events?follow`, { method: 'HEAD' });
    expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  });

  it('sends a full history whole', async () => {
    for (let n = 0; n < 12_000; n++) emit(`é${n}`);
    const { events } = await getEvents();
    expect(events.map(({ replica_id }) => replica_id)).toEqual(
      Array.from({ length: 10_000 }, (_, n) => `é${n + 2000}`),
    );
  });

  it('needs a read token if there are tokens', async () => {
    await server.close();
    const read = new TokenSet(['reader']);
    server = await startTestApiServer({ tokens: { read: () => read } });
    expect((await fetch(`${server.url}/events?follow`)).status).toBe(401);
    const headers = { authorization: 'Bearer reader' };
    expect((await fetch(`${server.url}/events`, { headers })).status).toBe(200);
  });
});

describe('GET /events?follow', () => {
  it('sends its head at once, then the history and each new event with its id', async () => {
    const silent = follow();
    await until('the head arrives', () => silent.received().endsWith('\r\n\r\n'));
    expect(silent.received()).toMatch(/content-type: text\/event-stream\r\n/i);
    expect(silent.received()).toMatch(/x-accel-buffering: no\r\n/i);
    const lease = await register('r1');
    const connection = follow();
    await waitForFrames(connection, ['registered r1']);
    lease.socket.end();
    await waitForFrames(connection, ['registered r1', 'removed r1']);
    await waitForFrames(silent, ['registered r1', 'removed r1']);
    const { epoch, events } = await getEvents();
    expect(readFrames(connection)).toEqual(
      events.map((data) => ({ id: `${epoch}-${data.seq}`, event: data.kind, data })),
    );
  });

  it('filters the history and the new events', async () => {
    await register('r1');
    const lease = await register('r2');
    const connection = follow('&replica_id=r2&kind=registered&kind=removed');
    emit('r2');
    await register('r3');
    lease.socket.end();
    await waitForFrames(connection, ['registered r2', 'removed r2']);
  });

  it.each([
    ['&limit=1', ['id_conflict b', 'id_conflict c']],
    ['&limit=0', ['id_conflict c']],
    ['&since=1', ['id_conflict b', 'id_conflict c']],
    ['&limit=5', ['id_conflict a', 'id_conflict b', 'id_conflict c']],
  ])('starts where %s says', async (search, names) => {
    emit('a');
    emit('b');
    const connection = follow(search);
    await until('the head arrives', () => connection.received().includes('\r\n\r\n'));
    emit('c');
    await waitForFrames(connection, names);
  });

  it('resumes after the last event that the client has received', async () => {
    for (const id of ['a', 'b', 'c']) emit(id);
    const { epoch } = await getEvents();
    const all = ['id_conflict a', 'id_conflict b', 'id_conflict c'];
    await waitForFrames(follow('', `Last-Event-ID: ${epoch}-2\r\n`), all.slice(2));
    await waitForFrames(follow('&since=2', `Last-Event-ID: ${epoch}-1\r\n`), all.slice(1));
    await waitForFrames(follow('', 'Last-Event-ID: another-process-2\r\n'), all);
    await waitForFrames(follow('&since=2', 'Last-Event-ID: nonsense\r\n'), all.slice(2));
  });

  it('sends a whole history to a client that reads', async () => {
    for (let n = 0; n < 10_000; n++) emit(`r${n}`);
    const connection = follow();
    await until('all arrive', () => readFrames(connection).length === 10_000);
  });

  it('ends for a client that has not received events before they were dropped, and says so', async () => {
    emit('first');
    const connection = follow();
    await waitForFrames(connection, ['id_conflict first']);
    for (let n = 0; n < 10_002; n++) emit(`r${n}`);
    await until('it ends', () => connection.socket.readableEnded);
    expect(readFrames(connection)).toMatchObject([
      { data: { seq: 1 } },
      { id: '', event: 'dropped', data: { reason: expect.stringMatching(/no longer kept/) } },
    ]);
  });

  it('goes on for a slow client when strangers push out refused registrations', async () => {
    const connection = follow();
    emit('a');
    await waitForFrames(connection, ['id_conflict a']);
    for (let n = 0; n < 5000; n++) {
      server.events.emit({ kind: 'registration_refused', replicaId: undefined, host: 'h', code: 'usage', reason: 'x' });
    }
    emit('b');
    await until('the last event arrives', () => readFrames(connection).at(-1)?.data.replica_id === 'b');
    expect(readFrames(connection)).toHaveLength(1002);
  });

  it('is refused to more than 1,000 clients, of which one address can have 500, and allowed again when one has left', async () => {
    const followFrom = (address: string): RawConnection => {
      const text = 'GET /events?follow HTTP/1.0\r\nHost: x\r\n\r\n';
      const connection = openRawConnection(server.port, text, address);
      connections.push(connection);
      return connection;
    };
    const getHead = async (connection: RawConnection): Promise<string> => {
      await until('there is a response', () => connection.received().includes('\r\n\r\n'));
      return connection.received();
    };
    const streams = Array.from({ length: 500 }, () => followFrom('127.0.0.1'));
    await Promise.all(streams.map(getHead));
    expect(await getHead(followFrom('127.0.0.1'))).toMatch(
      /^HTTP\/1.1 429 .*retry-after: 5\r\n.* has 500 event streams/s,
    );
    streams.push(...Array.from({ length: 500 }, () => followFrom('127.0.0.2')));
    await Promise.all(streams.map(getHead));
    expect(await getHead(followFrom('127.0.0.3'))).toMatch(/^HTTP\/1.1 503 .*retry-after: 5\r\n.*has no room/s);
    expect(await listNames()).toEqual([]);
    streams[0]?.socket.destroy();
    await until('there is room', async () => (await getHead(followFrom('127.0.0.3'))).startsWith('HTTP/1.1 200'));
    emit('a');
    await Promise.all(streams.slice(1).map((one) => waitForFrames(one, ['id_conflict a'])));
  });

  it('ends at shutdown, after the last events', async () => {
    await register('r1');
    const connection = follow('&limit=0');
    await until('the head arrives', () => connection.received().includes('\r\n\r\n'));
    await server.close();
    await until('it ends', () => connection.socket.readableEnded);
    expect(readFrames(connection)).toMatchObject([{ data: { kind: 'removed', reason: 'shutdown' } }]);
  });
});
