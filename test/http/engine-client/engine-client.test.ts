import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { EngineClient, type EngineClientOptions } from '../../../src/http/engine-client/engine-client.js';
import { isLinkLocal } from '../../../src/http/engine-client/upstream-address.js';
import { recordCall } from '../../support/engine-responses.js';
import { ManualClock } from '../../support/manual-clock.js';
import { startTcpServer, type TcpServer } from '../../support/tcp-server.js';
import { until } from '../../support/until.js';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

const closing: (() => unknown)[] = [];
const clock = new ManualClock();

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function createClient(options: Partial<EngineClientOptions> = {}): EngineClient {
  const client = new EngineClient({ clock, ...options });
  closing.push(() => client.close());
  return client;
}

async function startServer(...args: Parameters<typeof startTcpServer>): Promise<TcpServer> {
  const server = await startTcpServer(...args);
  closing.push(() => server.close());
  return server;
}

/** Starts a server that responds to the n-th request, over all connections, with the n-th text or action. */
function startScript(...script: readonly (string | ((socket: Socket) => void))[]): Promise<TcpServer> {
  let requests = 0;
  return startServer((socket) => {
    const step = script[requests++] ?? OK;
    if (typeof step === 'string') socket.write(step, 'latin1');
    else step(socket);
  });
}

describe('a request', () => {
  it('is sent as it is, with host and content-length', async () => {
    const server = await startScript();
    const client = createClient();
    const headers = ['X-A', '1', 'x-a', 'caf\xe9', 'Content-Type', 'text/plain'];
    const body = [Buffer.from('h\xe9', 'latin1'), Buffer.from([0, 255])];
    const call = recordCall(client, server.origin, { method: 'POST', path: '/v1/x?b=%2F..&c', headers, body });
    await call.ended;
    expect(call).toMatchObject({ body: 'ok', ends: 1, failure: undefined });
    expect(call.heads).toEqual([{ status: 200, reason: 'OK', headers: ['Content-Length', '2'] }]);
    const lines = ['X-A: 1', 'x-a: caf\xe9', 'Content-Type: text/plain', 'content-length: 4'];
    const head = `POST /v1/x?b=%2F..&c HTTP/1.1\r\nhost: 127.0.0.1:${server.port}\r\n${lines.join('\r\n')}\r\n\r\n`;
    expect(server.received).toEqual([`${head}h\xe9\0\xff`]);
  });

  it('without a body has a length unless it is a GET', async () => {
    const server = await startScript();
    const client = createClient();
    await recordCall(client, server.origin).ended;
    await recordCall(client, server.origin, { method: 'POST' }).ended;
    const host = `host: 127.0.0.1:${server.port}`;
    const expected = `GET / HTTP/1.1\r\n${host}\r\n\r\nPOST / HTTP/1.1\r\n${host}\r\ncontent-length: 0\r\n\r\n`;
    expect(server.received).toEqual([expected]);
  });

  it('with a large body in pieces arrives unchanged', async () => {
    const pieces = Array.from({ length: 300 }, (_, index) => Buffer.alloc(1 + 13 * index, index));
    const total = pieces.reduce((sum, { length }) => sum + length, 0);
    const server = await startServer((socket) => server.received[0]?.endsWith('end') && socket.write(OK));
    const body = [...pieces, Buffer.from('end')];
    await recordCall(createClient(), server.origin, { method: 'POST', body }).ended;
    const [head = '', received = ''] = server.received[0]?.split('\r\n\r\n') ?? [];
    expect(head).toContain(`content-length: ${total + 3}`);
    expect(received === Buffer.concat(body).toString('latin1')).toBe(true);
  });

  it.each([
    ['a line feed in a header', { headers: ['a', 'b\r\nc: d'] }],
    ['a character beyond Latin-1', { headers: ['a', 'Ċ'] }],
    ['a colon in a name', { headers: ['a:', 'b'] }],
    ['a length', { headers: ['Content-Length', '3'] }],
    ['a transfer encoding', { headers: ['transfer-encoding', 'chunked'] }],
    ['another host', { headers: ['Host', 'x'] }],
    ['a space in the path', { path: '/a b' }],
    ['a line feed in the path', { path: '/\n' }],
    ['an empty path', { path: '' }],
    ['a space in the method', { method: 'GET /' }],
    ['a path in the origin', { origin: 'http://127.0.0.1/v1' }],
    ['credentials in the origin', { origin: 'http://a:b@127.0.0.1' }],
    ['another scheme', { origin: 'ftp://127.0.0.1' }],
    ['an origin that is not a URL', { origin: '127.0.0.1:80' }],
  ])('with %s is refused', (_what, request) => {
    const send = () => recordCall(createClient(), 'http://127.0.0.1:1', request);
    expect(send).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('a connection', () => {
  it('is used for one call after another', async () => {
    const server = await startScript(OK, 'HTTP/1.1 204 No Content\r\n\r\n');
    const client = createClient();
    for (let index = 0; index < 5; index++) await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(1);
  });

  it('can be used within onEnd', async () => {
    const server = await startScript();
    const client = createClient();
    const second = await new Promise<ReturnType<typeof recordCall>>((resolve) => {
      recordCall(client, server.origin, {}, { onEnd: () => resolve(recordCall(client, server.origin)) });
    });
    await second.ended;
    expect([second.body, server.sockets.length]).toEqual(['ok', 1]);
  });

  it('is closed after 4 s without a call', async () => {
    const server = await startScript();
    const client = createClient();
    const [first, second] = [recordCall(client, server.origin), recordCall(client, server.origin)];
    await Promise.all([first.ended, second.ended]);
    clock.advance(2000);
    await recordCall(client, server.origin).ended;
    clock.advance(2000);
    await until('the unused connection is closed', () => server.sockets.filter(({ closed }) => closed).length === 1);
    clock.advance(1999);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
    clock.advance(4000);
    await until('both are closed', () => server.sockets.every(({ closed }) => closed));
    expect(clock.pending()).toEqual([]);
  });

  it('is not used after 4 s, even if the timer is late', async () => {
    const server = await startScript();
    const late = Object.assign(new ManualClock(), { schedule: () => () => {} });
    const client = createClient({ clock: late });
    await recordCall(client, server.origin).ended;
    late.advance(4000);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
  });

  it('is closed a second before the server would close it', async () => {
    const server = await startScript('HTTP/1.1 204 OK\r\nKeep-Alive: timeout=2, max=9\r\n\r\n');
    const client = createClient();
    await recordCall(client, server.origin).ended;
    clock.advance(1000);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
  });

  it('is closed when it receives bytes without a call', async () => {
    const server = await startScript();
    const client = createClient();
    await recordCall(client, server.origin).ended;
    server.sockets[0]?.write(OK);
    await until('it is closed', () => server.sockets[0]?.closed === true);
    expect((await recordResult(client, server)).body).toBe('ok');
  });

  it.each([
    ['the server asks for it', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'],
    ['the response has no length', 'HTTP/1.1 200 OK\r\n\r\nok'],
    ['the server speaks HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ])('is closed after the response if %s', async (_what, text) => {
    const server = await startScript((socket) => socket.end(text));
    const client = createClient();
    const first = await recordResult(client, server);
    expect([first.body, first.failure]).toEqual(['ok', undefined]);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
  });

  it('is closed if the response came before the server has read the request', async () => {
    const server = await startScript((socket) => {
      socket.pause();
      socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
    });
    const client = createClient();
    const call = recordCall(client, server.origin, { method: 'POST', body: [Buffer.alloc(50_000_000)] });
    await call.ended;
    expect([call.heads[0]?.status, call.body]).toEqual([413, 'no']);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
  });

  it('waits for another one over the limit', async () => {
    const server = await startScript();
    const client = createClient({ maxConnections: 2 });
    const order: number[] = [];
    const calls = Array.from({ length: 9 }, (_, index) =>
      recordCall(client, server.origin, {}, { onEnd: () => order.push(index) }),
    );
    calls[4]?.cancel();
    await Promise.all(calls.filter((_, index) => index !== 4).map(({ ended }) => ended));
    expect(order.toSorted()).toEqual([0, 1, 2, 3, 5, 6, 7, 8]);
    expect([calls[4]?.ends, server.sockets.length]).toEqual([0, 2]);
  });

  it('that breaks makes room for a call that waits', async () => {
    const server = await startScript((socket) => socket.destroy());
    const client = createClient({ maxConnections: 1 });
    const [broken, waiting] = [recordCall(client, server.origin), recordCall(client, server.origin)];
    await Promise.all([broken.ended, waiting.ended]);
    expect([broken.failure?.kind, waiting.body]).toEqual(['no_response', 'ok']);
  });

  it('to an origin that is no longer called leaves nothing behind', async () => {
    const server = await startScript();
    const client = createClient();
    await recordCall(client, server.origin).ended;
    server.sockets[0]?.destroy();
    await until('the timer is cancelled', () => clock.pending().length === 0);
  });
});

async function recordResult(client: EngineClient, { origin }: TcpServer): Promise<ReturnType<typeof recordCall>> {
  const call = recordCall(client, origin);
  await call.ended;
  return call;
}

const reset = (socket: Socket): void => void socket.resetAndDestroy();
const finish = (socket: Socket): void => void socket.end();

describe('a call whose connection breaks', () => {
  it.each([
    ['reset', reset],
    ['finished', finish],
  ])('before the response is made again if the connection was reused and is %s', async (_how, end) => {
    const server = await startScript(OK, end);
    const client = createClient();
    await recordCall(client, server.origin).ended;
    const call = recordCall(client, server.origin, { method: 'POST', body: [Buffer.from('again')] });
    await call.ended;
    expect(call).toMatchObject({ body: 'ok', ends: 1 });
    expect(server.received[0]).toContain('again');
    expect(server.received[1]).toContain('again');
  });

  it('is made again with a large body', async () => {
    let requests = 0;
    const server = await startServer((socket, index) => {
      if (index === 0 && ++requests === 2) socket.resetAndDestroy();
      else if (index === 0 || server.received[1]?.endsWith('end')) socket.write(OK);
    });
    const client = createClient();
    await recordCall(client, server.origin).ended;
    const body = [Buffer.alloc(3_000_000), Buffer.from('end')];
    const call = recordCall(client, server.origin, { method: 'POST', body });
    await call.ended;
    expect(call).toMatchObject({ body: 'ok', ends: 1 });
  });

  it('is made again only once', async () => {
    const server = await startScript(OK, reset, reset);
    const client = createClient();
    await recordCall(client, server.origin).ended;
    const { failure } = await recordResult(client, server);
    expect([failure?.kind, server.sockets.length]).toEqual(['no_response', 2]);
  });

  it('is made again over a new connection, not over another idle one', async () => {
    const server = await startScript(OK, OK, reset);
    const client = createClient();
    const calls = [recordCall(client, server.origin), recordCall(client, server.origin)];
    await Promise.all(calls.map(({ ended }) => ended));
    expect([(await recordResult(client, server)).body, server.sockets.length]).toEqual(['ok', 3]);
  });

  it('is not made again 250 ms later: the request itself can be the reason', async () => {
    const server = await startScript(OK, (socket) => {
      clock.advance(251);
      socket.resetAndDestroy();
    });
    const client = createClient();
    await recordCall(client, server.origin).ended;
    const { failure } = await recordResult(client, server);
    expect([failure?.kind, server.sockets.length]).toEqual(['no_response', 1]);
  });

  it('counts as sent if it could not be made again', async () => {
    const server = await startScript(OK, (socket) => {
      void server.close();
      socket.resetAndDestroy();
    });
    const client = createClient();
    await recordCall(client, server.origin).ended;
    expect((await recordResult(client, server)).failure?.kind).toBe('no_response');
  });

  it.each([
    ['reset', reset, /^http:\/\/127.0.0.1:\d+: no response: read ECONNRESET$/],
    ['finished', finish, /no response: the connection was closed$/],
  ])('before the response fails if the connection is new and is %s', async (_how, end, message) => {
    const server = await startScript(end);
    const { failure, ends } = await recordResult(createClient(), server);
    expect([failure?.kind, ends, server.sockets.length]).toEqual(['no_response', 1, 1]);
    expect(failure?.message).toMatch(message);
  });

  it.each([
    ['in the status line', 'HTTP/1.1 2', 0],
    ['in the head', 'HTTP/1.1 200 OK\r\nContent-', 0],
    ['after an interim response', 'HTTP/1.1 100 Continue\r\n\r\n', 0],
    ['in a body with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok', 1],
    ['in a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok', 1],
    ['before the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n', 1],
    ['in the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n', 1],
  ])('%s is truncated, also on a reused connection', async (_where, text, heads) => {
    const server = await startScript(
      (socket) => socket.end(text),
      OK,
      (socket) => socket.end(text),
    );
    const client = createClient();
    const first = await recordResult(client, server);
    await recordCall(client, server.origin).ended;
    for (const call of [first, await recordResult(client, server)]) {
      expect([call.failure?.kind, call.ends, call.heads.length]).toEqual(['truncated', 1, heads]);
    }
    expect(server.sockets.length).toBe(2);
  });

  it('in a body without a length is truncated by a reset', async () => {
    const server = await startScript((socket) => socket.write('HTTP/1.1 200 OK\r\n\r\nok'));
    const onBody = () => server.sockets[0]?.resetAndDestroy();
    const call = recordCall(createClient(), server.origin, {}, { onBody });
    await call.ended;
    expect([call.body, call.failure?.kind]).toEqual(['ok', 'truncated']);
  });

  it.each([
    ['a banner', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['more bytes', `${OK}ok`],
  ])('by a bad response fails, and its connection is not reused: %s', async (_what, text) => {
    const server = await startScript(OK, text);
    const client = createClient();
    await recordCall(client, server.origin).ended;
    const { failure, heads, ends } = await recordResult(client, server);
    expect([failure?.kind, heads.length, ends]).toEqual(['bad_response', 0, 1]);
    expect(failure?.message).toMatch(/^http:\/\/127.0.0.1:\d+: bad response: /);
    await recordCall(client, server.origin).ended;
    expect(server.sockets.length).toBe(2);
  });
});

describe('a connection that can not be opened', () => {
  it('fails the call', async () => {
    const server = await startScript();
    await server.close();
    const { failure } = await recordResult(createClient(), server);
    expect(failure).toMatchObject({
      kind: 'connect_failed',
      message: expect.stringMatching(/ECONNREFUSED 127.0.0.1:\d+$/),
    });
  });

  it('fails the call with the first reason if the name has several addresses', async () => {
    const server = await startScript();
    await server.close();
    const call = recordCall(createClient(), `http://localhost:${server.port}`);
    await call.ended;
    expect(call.failure?.message).toMatch(/^http:\/\/localhost:\d+: connect ECONNREFUSED /);
  });

  it('fails the call after 3 s', async () => {
    // The TLS handshake gets no response.
    const server = await startServer(() => {});
    const call = recordCall(createClient(), `https://127.0.0.1:${server.port}`);
    await until('it has connected', () => server.received[0] !== undefined && server.received[0] !== '');
    clock.advance(2999);
    expect(call.ends).toBe(0);
    clock.advance(1);
    expect(call.failure).toMatchObject({
      kind: 'connect_timeout',
      message: expect.stringMatching(/no connection within 3 s$/),
    });
    await until('the connection is closed', () => server.sockets[0]?.closed === true);
  });

  it.each([
    'http://169.254.169.254',
    'https://169.254.0.1:8000',
    'http://[fe80::1]:8000',
    'http://[::ffff:169.254.169.254]',
  ])('because it is link-local fails the call: %s', async (origin) => {
    const call = recordCall(createClient(), origin);
    expect(call.ends).toBe(0);
    await call.ended;
    expect(call.failure).toMatchObject({ kind: 'connect_failed', message: expect.stringMatching(/not allowed$/) });
  });

  it('because its name resolves to an address that is not allowed fails the call', async () => {
    const server = await startScript();
    const checkAddress = vi.fn(() => false);
    const origin = `http://localhost:${server.port}`;
    const call = recordCall(createClient({ checkAddress }), origin);
    await call.ended;
    expect(call.failure?.message).toMatch(
      /: localhost resolves to .*127\.0\.0\.1.*, and connections there are not allowed$/,
    );
    expect(checkAddress).toHaveBeenCalledWith('127.0.0.1', origin);
    expect(server.sockets.length).toBe(0);
  });

  it('to one of several addresses of a name uses another', async () => {
    const server = await startScript();
    const client = createClient({ checkAddress: (address) => address === '127.0.0.1' });
    const call = recordCall(client, `http://localhost:${server.port}`);
    await call.ended;
    expect(call.body).toBe('ok');
  });

  it.each([
    ['169.254.169.254', true],
    ['fe80::1%eth0', true],
    ['febf::1', true],
    ['::ffff:169.254.1.1', true],
    ['64:ff9b::169.254.169.254', true],
    ['169.253.255.255', false],
    ['127.0.0.1', false],
    ['10.0.0.1', false],
    ['::1', false],
    ['fec0::1', false],
    ['2001:db8::fe80', false],
  ])('whether %s is link-local: %s', (address, expected) => {
    expect(isLinkLocal(address)).toBe(expected);
  });
});

describe('a cancelled call', () => {
  it('is not heard of again while it connects', async () => {
    const server = await startScript();
    const client = createClient();
    const call = recordCall(client, server.origin);
    call.cancel();
    expect((await recordResult(client, server)).body).toBe('ok');
    expect([call.ends, clock.pending().length]).toEqual([0, 1]);
  });

  it('is not heard of again if its address is not allowed', async () => {
    const call = recordCall(createClient(), 'http://169.254.1.1');
    call.cancel();
    await Promise.resolve();
    expect(call.ends).toBe(0);
  });

  it('closes its connection before the response', async () => {
    const server = await startScript(() => call.cancel());
    const call = recordCall(createClient(), server.origin);
    await until('the connection is closed', () => server.sockets[0]?.closed === true);
    expect(call.ends).toBe(0);
  });

  it.each(['onHead', 'onBody'])('within %s receives nothing more', async (method) => {
    const server = await startScript();
    const call = recordCall(createClient(), server.origin, {}, { [method]: () => call.cancel() });
    await until('the connection is closed', () => server.sockets[0]?.closed === true);
    expect([call.heads.length, call.pieces.length, call.ends]).toEqual([1, method === 'onBody' ? 1 : 0, 0]);
  });

  it('after its end leaves the connection open', async () => {
    const server = await startScript();
    const client = createClient();
    const call = await recordResult(client, server);
    const next = recordCall(client, server.origin);
    call.cancel();
    call.pause();
    await next.ended;
    expect([next.body, server.sockets.length]).toEqual(['ok', 1]);
  });
});

describe('a handler', () => {
  it('that pauses receives at most what was read, until it resumes', async () => {
    const total = 40_000_000;
    const server = await startScript((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
      socket.write(Buffer.alloc(total));
    });
    let bytes = 0;
    const call = recordCall(
      createClient(),
      server.origin,
      {},
      {
        onBody(piece) {
          bytes += piece.length;
          if (bytes === piece.length) call.pause();
        },
      },
    );
    await until('the first piece is here', () => bytes > 0);
    const socket = server.sockets[0] as Socket;
    await until('the buffers of the kernel are full', () => socket.writableLength > 0);
    const [waiting, seen] = [socket.writableLength, bytes];
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(bytes - seen).toBeLessThanOrEqual(256 * 1024);
    expect(waiting).toBeGreaterThan(0);
    call.resume();
    await call.ended;
    expect([bytes, call.failure]).toEqual([total, undefined]);
  });

  it('that pauses in the last piece leaves the connection usable', async () => {
    const server = await startScript();
    const client = createClient();
    const call = recordCall(client, server.origin, {}, { onBody: () => call.pause() });
    await call.ended;
    expect([(await recordResult(client, server)).body, server.sockets.length]).toEqual(['ok', 1]);
  });

  it('that has paused while it waits for a connection receives nothing until it resumes', async () => {
    const server = await startScript();
    const client = createClient({ maxConnections: 1 });
    const [first, waiting] = [recordCall(client, server.origin), recordCall(client, server.origin)];
    waiting.pause();
    await first.ended;
    await until('the second request is sent', () => (server.received[0]?.split('GET').length ?? 0) > 2);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(waiting.heads.length).toBe(0);
    waiting.resume();
    await waiting.ended;
    expect(waiting.body).toBe('ok');
  });

  it('that has paused before the response receives it after it resumes', async () => {
    const server = await startScript();
    const client = createClient();
    const call = recordCall(client, server.origin);
    call.pause();
    await until('the request is sent', () => server.received[0] !== undefined && server.received[0] !== '');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(call.heads.length).toBe(0);
    call.resume();
    await call.ended;
    expect(call.body).toBe('ok');
  });
});

describe('a closed client', () => {
  it('fails all calls and closes all connections', async () => {
    const server = await startScript(
      OK,
      (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n'),
      () => client.close(),
    );
    const client: EngineClient = createClient({ maxConnections: 2 });
    await recordCall(client, server.origin).ended;
    const streaming = recordCall(client, server.origin);
    await until('it streams', () => streaming.heads.length === 1);
    const calls = [streaming, recordCall(client, server.origin), recordCall(client, server.origin)];
    await Promise.all(calls.map(({ ended }) => ended));
    expect(calls.map(({ failure }) => failure?.kind)).toEqual(['truncated', 'no_response', 'connect_failed']);
    expect(calls[0]?.failure?.message).toMatch(/: the client was closed$/);
    await until('all are closed', () => server.sockets.every(({ closed }) => closed));
    expect(() => recordCall(client, server.origin)).toThrow('the client for engines was closed');
  });

  it('closes idle connections', async () => {
    const server = await startScript();
    const client = createClient();
    await recordCall(client, server.origin).ended;
    client.close();
    const [socket] = server.sockets;
    if (socket && !socket.closed) await once(socket, 'close');
    await until('no timer is left', () => clock.pending().length === 0);
  });
});
