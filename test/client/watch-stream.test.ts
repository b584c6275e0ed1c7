import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { REFUSAL_HEADER } from '../../src/api/api-responses.js';
import { REGISTRY_HEADER } from '../../src/api/instance-json.js';
import { MAX_WATCH_EVENT_BYTES, type WatchEvent } from '../../src/api/watch-events.js';
import { ApiClient } from '../../src/client/api-client.js';
import { type FollowStreamOptions, followStream } from '../../src/client/followed-stream.js';
import { RegistryClaims } from '../../src/client/registry-claims.js';
import type { WatchStream } from '../../src/client/watch-stream.js';
import type { AnyserveError } from '../../src/core/errors.js';
import { toServer } from '../support/api-client.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const EVENT_STREAM = { 'content-type': 'text/event-stream', [REGISTRY_HEADER]: 'r' };
const ROW = '{"replica_id":"r1","endpoint":"h:1","capabilities":[{"type":"chat"}],"state":"unready"}';

let server: Server;
let api: ApiClient;
let clock: ManualClock;
let requests: { request: IncomingMessage; response: ServerResponse }[];
let respond: (response: ServerResponse) => void;

beforeEach(async () => {
  requests = [];
  respond = (response) => response.writeHead(200, EVENT_STREAM).flushHeaders();
  clock = new ManualClock();
  server = createServer((request, response) => {
    requests.push({ request, response });
    respond(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  api = new ApiClient({ servers: ['http://unused'], clock });
});

afterEach(() => {
  api.close();
  server.closeAllConnections();
  server.close();
});

const createWatch = (query: readonly string[] = []): WatchStream =>
  api.watch(toServer(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), query);

/** Starts to read a connection of the watch. */
function read(watch: WatchStream, signal = new AbortController().signal) {
  const events: WatchEvent[] = [];
  const ended = (async (): Promise<AnyserveError> => {
    try {
      for await (const event of watch.connect(signal)) events.push(event);
    } catch (error) {
      return error as AnyserveError;
    }
    throw new Error('connect() returned');
  })();
  return { events, ended };
}

async function send(text: string, request = requests.length - 1): Promise<void> {
  await until('the request arrives', () => requests[request] !== undefined);
  requests[request]?.response.write(text);
}

describe('a watch', () => {
  it('yields the events of the server, and skips comments and events that newer servers add', async () => {
    const { events } = read(createWatch());
    await until('it is requested', () => requests.length === 1);
    await send('event: snapshot\ndata: {"warming": true}\n\n: alive\n\n');
    await send(`event: put\ndata: ${ROW}\nid: e-0\n\nevent: synced\ndata: {}\nid: e-7\n\n`);
    await send('event: future\ndata: nothing known\n\n');
    await send('event: removed\ndata: {"replica_id": "r1", "reason": "closed"}\nid: e-8\n\n');
    await send('event: warm\ndata: {}\nid: e-8\n\n');
    await until('all arrive', () => events.length === 5);
    expect(events).toMatchObject([
      { kind: 'snapshot', isWarming: true },
      { kind: 'put', replica: { replica: { id: 'r1', endpoint: 'h:1' }, state: 'unready' } },
      { kind: 'synced' },
      { kind: 'removed', replicaId: 'r1', reason: 'closed' },
      { kind: 'warm' },
    ]);
    expect((events[1] as { replica: { toText(): string } }).replica.toText()).toBe(ROW);
  });

  it('sends its filter, and on the next connection the id of the last event', async () => {
    const watch = createWatch(['model', 'a b', 'type', 'chat']);
    const first = read(watch);
    await until('it is requested', () => requests.length === 1);
    await send('event: synced\ndata: {}\nid: e-1-7\n\n');
    await until('it arrives', () => first.events.length === 1);
    requests[0]?.response.end();
    expect(await first.ended).toMatchObject({
      code: 'server_unreachable',
      message: expect.stringMatching(/ended the watch$/),
    });
    read(watch);
    await until('it is requested again', () => requests.length === 2);
    expect(requests.map(({ request }) => [request.url, request.headers['last-event-id']])).toEqual([
      ['/watch?model=a+b&type=chat', undefined],
      ['/watch?model=a+b&type=chat', 'e-1-7'],
    ]);
  });

  it('ends when the server drops it, with the reason', async () => {
    const { ended } = read(createWatch());
    await until('it is requested', () => requests.length === 1);
    await send('event: dropped\ndata: {"reason": "too slow"}\n\n');
    expect(await ended).toMatchObject({
      code: 'server_unreachable',
      message: expect.stringMatching(/ended the watch: too slow$/),
    });
  });

  it('ends after 15 s without a byte, and a heartbeat counts as one', async () => {
    const { events, ended } = read(createWatch());
    await until('it is requested', () => requests.length === 1);
    await until('it is read', () => clock.pending()[0] === 15_000);
    clock.advance(14_999);
    await send(': alive\n\n');
    await until('the heartbeat arrives', () => clock.pending()[0] === 15_000);
    clock.advance(14_999);
    await send('event: warm\ndata: {}\n\n');
    await until('it is still open', () => events.length === 1);
    clock.advance(15_000);
    expect(await ended).toMatchObject({
      code: 'server_unreachable',
      message: expect.stringMatching(/sent nothing for 15 s$/),
    });
  });

  it('ends with the reason of its signal', async () => {
    const stop = new AbortController();
    const { ended } = read(createWatch(), stop.signal);
    await until('it is requested', () => requests.length === 1);
    stop.abort('stop');
    expect(await ended).toBe('stop');
    await until('the connection is closed', () => requests[0]?.response.destroyed === true);
  });

  it('tells a server without a watch from one that refuses it', async () => {
    const cases: [status: number, headers: Record<string, string>, code: string][] = [
      [404, {}, 'unimplemented'],
      [404, { [REGISTRY_HEADER]: 'r' }, 'not_an_api_server'],
      [401, { [REGISTRY_HEADER]: 'r', [REFUSAL_HEADER]: '1' }, 'server_unauthenticated'],
      [503, { [REGISTRY_HEADER]: 'r' }, 'server_unreachable'],
      [200, { 'content-type': 'text/html' }, 'not_an_api_server'],
    ];
    for (const [status, headers, code] of cases) {
      respond = (response) => response.writeHead(status, headers).end('{"detail":"Not Found"}');
      expect(await read(createWatch()).ended, `HTTP ${status}`).toMatchObject({ code });
    }
  });

  it('ends on data that no API server sends, and on an event of more than 2 MiB', async () => {
    for (const [name, data] of [
      ['put', '{"replica_id":1}'],
      ['removed', '[]'],
      ['removed', 'x'],
      ['snapshot', 'null'],
    ]) {
      respond = (response) => response.writeHead(200, EVENT_STREAM).write(`event: ${name}\ndata: ${data}\n\n`);
      expect(await read(createWatch()).ended, data).toMatchObject({ code: 'not_an_api_server' });
    }
    respond = (response) =>
      response.writeHead(200, EVENT_STREAM).write(`data: ${'x'.repeat(MAX_WATCH_EVENT_BYTES * 2)}`);
    expect(await read(createWatch()).ended).toMatchObject({
      code: 'not_an_api_server',
      message: expect.stringMatching(/without an event/),
    });
  });
});

describe('a followed watch', () => {
  /** Follows a watch. Its backoff has the delays 500, 250, 500, 1000 ms and so on. */
  function follow(options: Partial<FollowStreamOptions<WatchEvent>> = {}) {
    const stop = new AbortController();
    const events: string[] = [];
    const losses: string[] = [];
    const ended = followStream(createWatch(), {
      clock,
      random: { fraction: () => 0.5 },
      signal: stop.signal,
      onEvent: ({ kind }) => void events.push(kind),
      onLost: ({ code }, retryInMs) => void losses.push(`${code} ${retryInMs}`),
      ...options,
    });
    return { stop, events, losses, ended };
  }

  it('connects again with backoff, which starts over after a connection that lasted 30 s', async () => {
    respond = (response) => response.writeHead(503, EVENT_STREAM).end('{}');
    const { stop, events, losses, ended } = follow();
    await until('it fails', () => losses.length === 1);
    clock.advance(500);
    await until('it fails again', () => losses.length === 2);
    respond = (response) => response.writeHead(200, EVENT_STREAM).write('event: warm\ndata: {}\n\n');
    clock.advance(250);
    await until('it connects', () => events.length === 1);
    for (let sent = 2; sent <= 4; sent++) {
      clock.advance(10_000);
      requests.at(-1)?.response.write('event: warm\ndata: {}\n\n');
      await until('the event arrives', () => events.length === sent);
    }
    requests.at(-1)?.response.destroy();
    await until('it is lost', () => losses.length === 3);
    expect(losses).toEqual(['server_unreachable 500', 'server_unreachable 250', 'server_unreachable 500']);
    stop.abort();
    expect(await ended).toBeUndefined();
  });

  it('rejects when the server refuses it at first, and tries again when it did not', async () => {
    respond = (response) => response.writeHead(404).end();
    await expect(follow().ended).rejects.toMatchObject({ code: 'unimplemented' });
    respond = (response) => response.writeHead(200, EVENT_STREAM).end('event: warm\ndata: {}\n\n');
    const { stop, losses, ended } = follow();
    await until('it is lost', () => losses.length === 1);
    respond = (response) => response.writeHead(404).end();
    clock.advance(500);
    await until('it is refused', () => losses.length === 2);
    expect(losses[1]).toBe('unimplemented 250');
    stop.abort();
    await ended;
  });

  it('tries a server again that refuses it at first, if that is asked for', async () => {
    respond = (response) => response.writeHead(404).end();
    const { stop, losses, ended } = follow({ retriesRefusals: true });
    await until('it is refused', () => losses.length === 1);
    clock.advance(500);
    await until('it is refused again', () => losses.length === 2);
    stop.abort();
    await ended;
  });

  it('waits while another server with the same registry is followed, and takes its place when that fails', async () => {
    respond = (response) => response.writeHead(200, EVENT_STREAM).write('event: warm\ndata: {}\n\n');
    const claims = new RegistryClaims<object>();
    const first = follow({ claims });
    await until('the first is followed', () => first.events.length === 1);
    const second = follow({ claims });
    const isClosed = (request: number): boolean => requests[request]?.response.destroyed ?? false;
    await until('the other connection is closed', () => isClosed(1));
    expect([second.events, second.losses]).toEqual([[], []]);
    first.stop.abort();
    await first.ended;
    await until('the second is followed', () => second.events.length === 1);
    second.stop.abort();
    await second.ended;
  });
});
