import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Response } from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitForTurn } from '../../src/http/pipelining.js';
import { createHeartbeatWheel } from '../../src/server/heartbeat-wheel.js';
import { createLeaseStream, type LeaseStream } from '../../src/server/lease-stream.js';
import { openRawConnection, type RawConnection } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const HEARTBEAT_MS = 2000;
const ALIVE = 'data: {"status": "alive"}\n\n';

let clock: ManualClock;
let server: Server;
let connection: RawConnection;
/** The sockets on the server side. */
let sockets: Socket[];
/** The streams, and how often each was closed. */
let opened: { stream: LeaseStream; response: Response; goneTimes: number; isLetGo: boolean }[];
/** Called right before a response becomes a stream. */
let beforeStream: (response: Response) => void;

beforeEach(async () => {
  beforeStream = () => {};
  clock = new ManualClock();
  opened = [];
  sockets = [];
  const heartbeats = createHeartbeatWheel({ clock, intervalMs: HEARTBEAT_MS });
  server = createServer((request, response) =>
    waitForTurn(request as never, response as Response, () => {
      request.resume().once('end', () => {
        const one = { response: response as Response, goneTimes: 0, isLetGo: false };
        beforeStream(one.response);
        const stream = createLeaseStream(one.response, heartbeats);
        const kept = Object.assign(one, { stream });
        stream.onClosed(() => void kept.goneTimes++);
        response.once('close', () => {
          kept.isLetGo = true;
        });
        opened.push(kept);
      });
    }),
  );
  server.on('connection', (socket) => sockets.push(socket.setTimeout(1000)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  connection.socket.destroy();
  server.closeAllConnections();
  server.close();
});

/** Sends a request, waits until the stream has taken over its connection, and opens the stream. */
async function open(request: string, count = 1): Promise<(typeof opened)[0]> {
  connection = openRawConnection((server.address() as AddressInfo).port, request);
  await until('it is superseded', () => opened.length === count);
  const one = opened[0] as (typeof opened)[0];
  one.stream.open('data: first\n\n', { 'x-more': '1' });
  return one;
}

/** Returns the bytes received after the head. */
const readBody = (): string => connection.received().split('\r\n\r\n').slice(1).join('\r\n\r\n');

const formatChunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

const waitForBytes = (text: string): Promise<void> =>
  until(
    () => `${JSON.stringify(readBody())} is it`,
    () => readBody() === text,
  );

describe('a lease stream', () => {
  it('sends its first event, a heartbeat at once and one at every interval, in HTTP/1.1 chunks', async () => {
    await open('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await waitForBytes(`${formatChunk('data: first\n\n')}${formatChunk(ALIVE)}`);
    expect(connection.received().replace(/Date: [^\r]+/, 'Date: now')).toMatch(
      'HTTP/1.1 200 OK\r\nx-more: 1\r\ncache-control: no-cache\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\nDate: now\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    clock.advance(HEARTBEAT_MS);
    await waitForBytes(`${formatChunk('data: first\n\n')}${formatChunk(ALIVE)}${formatChunk(ALIVE)}`);
  });

  it('ends with a last event and the last chunk', async () => {
    const { stream } = await open('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    stream.end('data: last\n\n');
    stream.end('data: more\n\n');
    await waitForBytes(
      `${formatChunk('data: first\n\n')}${formatChunk(ALIVE)}${formatChunk('data: last\n\n')}0\r\n\r\n`,
    );
    await until('it is closed', () => connection.socket.readableEnded);
    expect(clock.pending()).toEqual([]);
  });

  it('sends its events and closes if it is ended before it is opened', async () => {
    connection = openRawConnection((server.address() as AddressInfo).port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is superseded', () => opened.length === 1);
    opened[0]?.stream.end('data: last\n\n');
    opened[0]?.stream.open('data: first\n\n');
    await waitForBytes(`${formatChunk('data: first\n\n')}${formatChunk('data: last\n\n')}0\r\n\r\n`);
    await until('it is closed', () => connection.socket.readableEnded);
  });

  it.each([
    ['of HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', (text: string) => text],
    ['that should close after the response', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', formatChunk],
  ])('on a connection %s stays open, and reports when the peer closes', async (_what, request, framed) => {
    const one = await open(request);
    clock.advance(HEARTBEAT_MS);
    await waitForBytes(`${framed('data: first\n\n')}${framed(ALIVE)}${framed(ALIVE)}`);
    expect(one).toMatchObject({ goneTimes: 0, isLetGo: false });
    connection.socket.end();
    await until('it is gone', () => one.goneTimes > 0);
  });

  it('has no timeout, neither before it is open nor after Node has released it', async () => {
    connection = openRawConnection((server.address() as AddressInfo).port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is superseded', () => opened.length === 1);
    expect(sockets.map(({ timeout }) => timeout)).toEqual([0]);
    opened[0]?.stream.open('data: first\n\n');
    await until('it is released', () => opened[0]?.isLetGo === true);
    expect(sockets.map(({ timeout }) => timeout)).toEqual([0]);
  });

  it('calls its listener once when the peer half-closes', async () => {
    const one = await open('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    connection.socket.end();
    await until('it is gone', () => one.goneTimes > 0);
    one.stream.end();
    one.stream.destroy();
    await until('it is closed', () => connection.socket.closed || connection.socket.readableEnded);
    expect(one.goneTimes).toBe(1);
    expect(clock.pending()).toEqual([]);
  });
});

describe('a lease stream on a closed connection', () => {
  it('calls its listener at once, and sends nothing', async () => {
    beforeStream = (response) => response.socket?.destroy();
    connection = openRawConnection((server.address() as AddressInfo).port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    let goneTimesAtOnce: number | undefined;
    await until('the request became a stream', () => {
      goneTimesAtOnce ??= opened[0]?.goneTimes;
      return opened.length === 1;
    });
    expect(goneTimesAtOnce).toBe(1);
    const [one] = opened;
    one?.stream.open('data: first\n\n');
    one?.stream.end('data: last\n\n');
    expect(one?.goneTimes).toBe(1);
    expect(clock.pending()).toEqual([]);
    await until('it is closed', () => connection.socket.closed || connection.socket.readableEnded);
    expect(connection.received()).toBe('');
  });
});

describe('the HTTP objects of a lease stream', () => {
  it('are released once it is open, while the connection stays open', async () => {
    const one = await open('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is released', () => one.isLetGo);
    expect(one.response.socket).toBeNull();
    clock.advance(HEARTBEAT_MS);
    await waitForBytes(`${formatChunk('data: first\n\n')}${formatChunk(ALIVE)}${formatChunk(ALIVE)}`);
    expect(one.goneTimes).toBe(0);
  });

  it('are kept if another request is pipelined, which gets no response between the events', async () => {
    const one = await open('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
    clock.advance(HEARTBEAT_MS);
    await waitForBytes(`${formatChunk('data: first\n\n')}${formatChunk(ALIVE)}${formatChunk(ALIVE)}`);
    expect(one.isLetGo).toBe(false);
    expect(opened).toHaveLength(1);
  });
});
