import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { acceptBody, ignoreBody } from '../../src/http/body-acceptance.js';
import { type Listener, startListener } from '../../src/http/listener.js';
import { ConnectionLimit } from '../../src/http/open-files.js';
import { openRawConnection } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const MIB = 1024 * 1024;
const NO_LIMIT = { open: 0, limit: Number.POSITIVE_INFINITY };

const listeners: Listener[] = [];

afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close();
});

/** Starts a server that refuses `/refused`, and responds to other paths with the length of their body. */
async function listen() {
  const clock = new ManualClock();
  const paths: (string | undefined)[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    paths.push(request.url);
    if (request.url === '/ready') return void response.end('ready');
    if (request.url === '/refused') {
      ignoreBody(request, response, clock);
      response.writeHead(401).end('no');
      return;
    }
    acceptBody(response);
    let length = 0;
    request.on('data', (piece: Buffer) => {
      length += piece.length;
    });
    request.on('end', () => response.end(`read ${length}`));
  };
  const connections = new ConnectionLimit(NO_LIMIT);
  const listener = await startListener(
    { host: '127.0.0.1', port: 0, clock },
    { handle, checksHead: true, formatError: (detail) => detail, connections },
  );
  listeners.push(listener);
  return { port: listener.port, clock, paths };
}

const formatHead = (path: string, headers: string, version = '1.1'): string =>
  `POST ${path} HTTP/${version}\r\nHost: x\r\n${headers}\r\n`;

describe('a client that waits for 100 Continue', () => {
  it('gets it when its body is accepted', async () => {
    const { port } = await listen();
    const { socket, received } = openRawConnection(
      port,
      formatHead('/a', 'Expect: 100-Continue\r\nContent-Length: 2\r\n'),
    );
    await until('it is asked for the body', () => received() === 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('{}');
    await until('there is a response', () => received().endsWith('read 2'));
    expect(received()).toMatch(/Connection: keep-alive/i);
  });

  it('does not get it if its body is refused, and the connection closes', async () => {
    const { port } = await listen();
    const head = formatHead('/refused', 'Expect: 100-continue\r\nContent-Length: 2\r\n');
    const { socket, received } = openRawConnection(port, head);
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 401 .*connection: close\r\n.*no/is);
    socket.destroy();
  });

  it('does not get it if the response does not need its body, and the connection closes', async () => {
    const { port } = await listen();
    const head = formatHead('/ready', 'Expect: 100-continue\r\nContent-Length: 2\r\n');
    const { socket, received } = openRawConnection(port, head);
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 200 .*connection: close\r\n.*ready/is);
    socket.destroy();
  });

  it('does not get it with HTTP/1.0, which has no such response', async () => {
    const { port } = await listen();
    const head = formatHead('/a', 'Expect: 100-continue\r\nContent-Length: 2\r\n', '1.0');
    const { received } = openRawConnection(port, `${head}{}`);
    await until('there is a response', () => received().endsWith('read 2'));
    expect(received()).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe('a body that is ignored', () => {
  it.each([
    ['is absent', '', ''],
    ['is short', 'Content-Length: 5\r\n', 'hello'],
  ])('keeps the connection if it %s', async (_what, headers, body) => {
    const { port } = await listen();
    const request = `${formatHead('/refused', headers)}${body}`;
    const next = `${formatHead('/a', 'Content-Length: 2\r\n')}{}`;
    const { received } = openRawConnection(port, request + next);
    await until('both have a response', () => received().endsWith('read 2'));
  });

  it.each([
    ['is long', `Content-Length: ${MIB}\r\n`, 'x'.repeat(MIB)],
    ['has no length', 'Transfer-Encoding: chunked\r\n', `5\r\nhello\r\n0\r\n\r\n`],
  ])('closes the connection if it %s, and no further request is handled', async (_what, headers, body) => {
    const { port, paths } = await listen();
    const next = `${formatHead('/a', 'Content-Length: 2\r\n')}{}`;
    const { socket, received } = openRawConnection(port, `${formatHead('/refused', headers)}${body}${next}`);
    await until('the connection is closed', () => socket.closed || socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 401 .*connection: close\r\n.*no/is);
    await new Promise((resolve) => void setTimeout(resolve, 50));
    expect(paths).toEqual(['/refused']);
    socket.destroy();
  });

  it('is read for some time, so that a client which is still sending gets the response', async () => {
    const { port } = await listen();
    const { socket, received } = openRawConnection(port, formatHead('/refused', `Content-Length: ${3 * MIB}\r\n`));
    const errors: Error[] = [];
    socket.on('error', (error) => errors.push(error));
    for (let n = 0; n < 3; n++) {
      await new Promise((resolve) => void setTimeout(resolve, 30));
      socket.write(Buffer.alloc(MIB));
    }
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 401 /);
    socket.end();
    await until('it is closed on both sides', () => socket.closed);
    expect(errors).toEqual([]);
  });

  it('is not read without end', async () => {
    const { port } = await listen();
    const socket = connect(port, '127.0.0.1');
    let isBroken = false;
    socket.on('error', () => {
      isBroken = true;
    });
    socket.write(formatHead('/refused', `Content-Length: ${300 * MIB}\r\n`));
    let sent = 0;
    while (!isBroken && !socket.closed && sent < 300) {
      sent++;
      if (!socket.write(Buffer.alloc(MIB)))
        await Promise.race(['drain', 'close'].map((name) => new Promise((resolve) => socket.once(name, resolve))));
    }
    // The kernel holds some MiB, too.
    expect(sent).toBeLessThan(60);
    socket.destroy();
  });

  it('is not awaited without end', async () => {
    const { port, clock } = await listen();
    const { socket, received } = openRawConnection(port, formatHead('/refused', `Content-Length: ${MIB}\r\n`));
    await until('there is a response', () => received() !== '' && socket.readableEnded);
    await clock.advance(4999);
    expect(socket.write('x')).toBe(true);
    await clock.advance(1);
    await until('the connection is reset', () => {
      socket.write('x');
      return socket.closed;
    });
  });
});
