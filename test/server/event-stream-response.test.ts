import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EventStreamResponse, EventStreams } from '../../src/server/event-stream-response.js';
import { openRawConnection, type RawConnection } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const COMMENT = ':\n\n';

let clock: ManualClock;
let server: Server;
let streams: EventStreams;
let connections: RawConnection[];
/** The streams and responses on the server side. */
let opened: { stream: EventStreamResponse; response: ServerResponse }[];
/** Events that the next stream can send. */
let waiting: string[];

beforeEach(async () => {
  clock = new ManualClock();
  streams = new EventStreams(clock);
  connections = [];
  opened = [];
  waiting = [];
  server = createServer((_request, response) => {
    const events = waiting;
    opened.push({ response, stream: streams.open(response, () => events.shift() ?? '') });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  for (const { socket } of connections) socket.destroy();
  server.closeAllConnections();
  server.close();
});

/** Sends a request and waits until its stream is open. */
async function open(method = 'GET', version = '1.0'): Promise<RawConnection & { stream: EventStreamResponse }> {
  const { port } = server.address() as AddressInfo;
  const connection = openRawConnection(port, `${method} / HTTP/${version}\r\nHost: x\r\n\r\n`);
  const index = connections.push(connection) - 1;
  await until('the stream is open', () => opened.length > index);
  return { ...connection, stream: opened[index]?.stream as EventStreamResponse };
}

const readBody = ({ received }: RawConnection): string => received().split('\r\n\r\n').slice(1).join('');

describe('an event stream', () => {
  it('sends its head at once, then events and a comment every 5 s', async () => {
    const connection = await open();
    await until('the head arrives', () => connection.received().endsWith('\r\n\r\n'));
    expect(connection.received().toLowerCase()).toMatch(
      /^http\/1.1 200 ok\r\ncontent-type: text\/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n/,
    );
    waiting.push('a', 'b');
    connection.stream.notify();
    await until('the events arrive', () => readBody(connection) === 'ab');
    clock.advance(4000);
    clock.advance(1000);
    await until('a comment arrives', () => readBody(connection) === `ab${COMMENT}`);
    clock.advance(5000);
    await until('another comment arrives', () => readBody(connection) === `ab${COMMENT}${COMMENT}`);
  });

  it('sends the events that are there when it opens', async () => {
    waiting.push('a');
    const connection = await open();
    await until('the event arrives', () => readBody(connection) === 'a');
  });

  it('reads no event while the client is slow, and sends no comment', async () => {
    const event = 'x'.repeat(64 * 1024);
    waiting.push(...Array.from({ length: 1000 }, () => event));
    const { port } = server.address() as AddressInfo;
    const connection = openRawConnection(port, 'GET / HTTP/1.0\r\n\r\n');
    connections.push(connection);
    connection.socket.pause();
    await until('the client is slow', () => opened[0]?.response.writableNeedDrain === true);
    // The kernel's buffers take a few MB; the server holds at most one event more than its write buffer.
    const unread = waiting.length;
    expect(unread).toBeGreaterThan(500);
    const { response } = opened[0] as (typeof opened)[0];
    expect(response.writableLength).toBeLessThan(3 * event.length);
    const bytesBefore = response.writableLength;
    clock.advance(60_000);
    opened[0]?.stream.notify();
    expect([waiting.length, response.writableLength]).toEqual([unread, bytesBefore]);
    connection.socket.resume();
    await until('all events arrive', () => waiting.length === 0);
    await until('it is read', () => readBody(connection).length === 1000 * event.length);
  });

  it('closes the connection of a client that does not receive its end within 5 s', async () => {
    const connection = await open();
    await until('the head arrives', () => connection.received().endsWith('\r\n\r\n'));
    connection.socket.pause();
    for (let n = 0; n < 1000; n++) waiting.push('x'.repeat(60_000));
    connection.stream.notify();
    expect([connection.stream.isBlocked, connection.stream.unsentBytes > 10_000]).toEqual([true, true]);
    connection.stream.end('last');
    expect(connection.stream.isBlocked).toBe(false);
    const { response } = opened[0] as (typeof opened)[0];
    clock.advance(4999);
    expect(response.destroyed).toBe(false);
    clock.advance(1);
    expect([response.destroyed, clock.pending()]).toEqual([true, []]);
  });

  it('is forgotten when the client leaves, and its timer stops', async () => {
    const connection = await open();
    let closedTimes = 0;
    connection.stream.onClosed(() => void closedTimes++);
    expect([streams.size, clock.pending().length]).toEqual([1, 1]);
    connection.socket.destroy();
    await until('it is closed', () => closedTimes === 1);
    expect([streams.size, clock.pending()]).toEqual([0, []]);
    waiting.push('late');
    connection.stream.notify();
    connection.stream.end('late');
    expect([waiting, closedTimes]).toEqual([['late'], 1]);
    connection.stream.onClosed(() => void closedTimes++);
    expect(closedTimes).toBe(2);
  });

  it('has only a head after a HEAD', async () => {
    waiting.push('a');
    const connection = await open('HEAD');
    await until('it ends', () => connection.socket.readableEnded);
    expect(connection.received()).toMatch(/^HTTP\/1.1 200 OK\r\ncontent-type: text\/event-stream\r\n.*\r\n\r\n$/s);
    expect([streams.size, clock.pending()]).toEqual([0, []]);
  });

  it('ends with the last events at shutdown, and so does a later one', async () => {
    const connection = await open('GET', '1.1');
    waiting.push('last');
    streams.close();
    await until('the last chunk arrives', () => connection.received().endsWith('\r\n0\r\n\r\n'));
    expect(readBody(connection)).toContain('last');
    waiting = ['later'];
    const later = await open();
    await until('it ends', () => later.socket.readableEnded);
    expect([readBody(later), streams.size, clock.pending()]).toEqual(['', 0, []]);
  });
});
