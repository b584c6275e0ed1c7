import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ReceivedEvent } from '../../src/api/event-json.js';
import type { ServerEventStream } from '../../src/client/event-client.js';
import { asReplicaId } from '../../src/core/ids.js';
import { createApiClient, toServer } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const ALL = { replicaIds: [], kinds: [] };
const NOWHERE = 'http://127.0.0.1:1';

let server: TestApiServer;
let ended: AbortController;

beforeEach(async () => {
  ended = new AbortController();
  server = await startTestApiServer({ port: await findFreePort() });
});

afterEach(async () => {
  ended.abort();
  await server.close();
});

const emit = (id: string): void => server.events.emit({ kind: 'id_conflict', replicaId: asReplicaId(id) });

const listIds = (events: readonly ReceivedEvent[]): (string | undefined)[] => events.map(({ replicaId }) => replicaId);

/** Reads a connection of a stream until the test ends it. */
function read(stream: ServerEventStream): ReceivedEvent[] {
  const events: ReceivedEvent[] = [];
  void (async () => {
    for await (const event of stream.connect(ended.signal)) events.push(event);
  })().catch(() => {});
  return events;
}

describe('a client of histories', () => {
  it('lists the events that pass the filters, and reports servers that fail', async () => {
    const api = createApiClient([server.url, NOWHERE]);
    emit('a');
    emit('b');
    server.events.emit({ kind: 'self_preservation_entered' });
    const { responses, failures } = await api.events.list({ replicaIds: ['b', 'c'], kinds: ['id_conflict'] });
    expect(responses.map(({ value }) => listIds(value.events))).toEqual([['b']]);
    expect(failures.map(({ error }) => error.code)).toEqual(['server_unreachable']);
    expect(responses[0]?.value.events[0]).toMatchObject({ seq: 2, kind: 'id_conflict' });
    api.close();
  });

  it('reports a filter that the server does not know', async () => {
    const api = createApiClient(server.url);
    await expect(api.events.list({ replicaIds: [], kinds: ['newer'] })).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringMatching(/refuses the filter: kind "newer" does not exist/),
    });
    api.close();
  });

  it('reports a server without a history, such as the Python server', async () => {
    const python = createServer((_request, response) => response.writeHead(404).end('{"detail":"Not Found"}'));
    await new Promise<void>((resolve) => python.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(python.address() as AddressInfo).port}`;
    const api = createApiClient(url);
    const expected = { code: 'unimplemented', message: expect.stringMatching(/keeps no history of events/) };
    await expect(api.events.list(ALL)).rejects.toMatchObject(expected);
    const connection = api.events.follow(toServer(url), ALL).connect(ended.signal);
    await expect(connection.next()).rejects.toMatchObject(expected);
    api.close();
    python.close();
  });

  it('follows a server after a history without a gap or a repetition', async () => {
    const api = createApiClient(server.url);
    emit('a');
    emit('b');
    const { responses } = await api.events.list({ replicaIds: ['a', 'd'], kinds: [] });
    const history = responses[0]?.value;
    expect(listIds(history?.events ?? [])).toEqual(['a']);
    emit('c');
    emit('d');
    const events = read(api.events.follow(toServer(server.url), { replicaIds: ['a', 'd'], kinds: [] }, history));
    await until('the missed event arrives', () => events.length > 0);
    emit('a');
    await until('the new event arrives', () => events.length > 1);
    expect(listIds(events)).toEqual(['d', 'a']);
    api.close();
  });

  it('gets the whole history of the next process of the server', async () => {
    const api = createApiClient(server.url);
    for (const id of ['a', 'b', 'c']) emit(id);
    const history = (await api.events.list(ALL)).responses[0]?.value;
    await server.close();
    server = await startTestApiServer({ port: server.port });
    emit('x');
    const events = read(api.events.follow(toServer(server.url), ALL, history));
    await until('the event of the new process arrives', () => listIds(events).join() === 'x');
    api.close();
  });
});
