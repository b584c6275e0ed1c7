import { createServer, type Socket } from 'node:net';
import OpenAI from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { createAddressCheck } from '../../src/http/engine-client/address-check.js';
import { openRawConnection } from '../support/api-server.js';
import { startTestGateway } from '../support/gateway.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { exchangeBytes } from '../support/raw-exchange.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CHAT = '/v1/chat/completions';

async function startGateway(...args: Parameters<typeof startTestGateway>) {
  const started = await startTestGateway(...args);
  cleanups.push(() => started.close());
  return started;
}

/** Starts an engine that sends these bytes in response to each request. Returns its base URL. */
async function startByteEngine(respond: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', () => respond(socket));
  });
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}/v1`;
}

const JSON_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';

describe('an engine that responds', () => {
  it.each([
    ['with garbage', '\0\x01\x02\x03'.repeat(100)],
    ['in another protocol', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['with an invalid header', `${JSON_HEAD}a b: 1\r\n\r\n`],
    ['with a line feed alone, which would split the response', `${JSON_HEAD}x-a: 1\nset-cookie: a=b\r\n\r\n`],
    ['with a carriage return in a value', `${JSON_HEAD}x-a: 1\r2\r\n\r\n`],
    ['with a null byte in a value', `${JSON_HEAD}x-a: 1\x002\r\n\r\n`],
    ['with a folded header', `${JSON_HEAD}x-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\n{}`],
    ['with two lengths', `${JSON_HEAD}content-length: 2\r\ncontent-length: 2\r\n\r\n{}`],
    ['with length and chunks', `${JSON_HEAD}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['with more bytes than its length', `${JSON_HEAD}content-length: 2\r\n\r\n{}{}`],
    ['with fewer bytes than its length', `${JSON_HEAD}content-length: 20\r\n\r\n{}`],
    ['with a chunk that is too long', `${JSON_HEAD}transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n`],
    ['with a status of 999', 'HTTP/1.1 999 Huge\r\n\r\n'],
    ['with another protocol after it', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n'],
    ['with headers over 64 KiB', `${JSON_HEAD}${`x-a: ${'y'.repeat(1000)}\r\n`.repeat(100)}\r\n{}`],
  ])('%s is not used, and the call goes to another', async (_how, bytes) => {
    const { register, post, waitForModels } = await startGateway();
    const bad = await startByteEngine((socket) => socket.end(bytes, 'latin1'));
    const good = await startHttpEngine((_request, response) => sendJson(response, { engine: 'good' }));
    cleanups.push(() => good.close());
    await register('bad', bad);
    await register('good', good.url);
    await waitForModels('m');
    for (let call = 0; call < 2; call++) {
      const response = await post(CHAT, { model: 'm' });
      expect([response.status, await response.json()]).toEqual([200, { engine: 'good' }]);
      expect(response.headers.get('set-cookie')).toBe(null);
    }
  });

  it.each([
    ['100 Continue', `HTTP/1.1 100 Continue\r\n\r\n${JSON_HEAD}content-length: 2\r\n\r\n{}`],
    ['103 Early Hints', `HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${JSON_HEAD}content-length: 2\r\n\r\n{}`],
    ['HTTP/1.0 until it closes', 'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}'],
    ['no reason phrase', 'HTTP/1.1 200\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}'],
  ])('with %s is used', async (_how, bytes) => {
    const { register, post, waitForModels } = await startGateway();
    await register('a', await startByteEngine((socket) => socket.end(bytes, 'latin1')));
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, await response.text(), response.headers.get('link')]).toEqual([200, '{}', null]);
  });

  it('with headers about web pages or other servers can not speak for the gateway', async () => {
    const { register, post, waitForModels } = await startGateway({ corsOrigin: 'https://app.example' });
    const engine = await startHttpEngine((_request, response) =>
      sendJson(response, {}, 200, {
        'access-control-allow-origin': '*',
        'Access-Control-Allow-Credentials': 'true',
        'alt-svc': 'h2="evil.example:443"',
        'x-anyserve-replica': 'other',
        'x-kept': '1',
      }),
    );
    cleanups.push(() => engine.close());
    await register('a', engine.url);
    await waitForModels('m');
    const { headers } = await post(CHAT, { model: 'm' }, { origin: 'https://app.example' });
    expect(headers.get('access-control-allow-origin')).toBe('https://app.example');
    for (const name of ['access-control-allow-credentials', 'alt-svc']) expect(headers.get(name)).toBe(null);
    expect([headers.get('x-anyserve-replica'), headers.get('x-kept')]).toEqual(['a', '1']);
  });

  it('with headers about its connection does not pass them on', async () => {
    const { register, post, waitForModels } = await startGateway();
    const head = `${JSON_HEAD}Connection: X-Hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\n`;
    await register('a', await startByteEngine((socket) => socket.end(`${head}{}`)));
    await waitForModels('m');
    const { status, headers } = await post(CHAT, { model: 'm' });
    expect([status, headers.get('x-hop'), headers.get('x-kept')]).toEqual([200, null, '1']);
  });

  it('with bytes that are not HTTP is a 502 if there is no other', async () => {
    const { register, post, waitForModels } = await startGateway();
    await register('a', await startByteEngine((socket) => socket.end(`${JSON_HEAD}content-length: +2\r\n\r\n{}`)));
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, await response.text()]).toEqual([502, expect.stringContaining('bad response')]);
  });

  it('with 204 and a length gives a response that every proxy reads in the same way', async () => {
    const { register, post, waitForModels } = await startGateway();
    await register(
      'a',
      await startByteEngine((socket) => socket.write('HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n')),
    );
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, response.headers.get('content-length')]).toEqual([204, null]);
  });

  it('with a redirect is not followed', async () => {
    const { register, post, waitForModels } = await startGateway();
    const target = await startHttpEngine((_request, response) => sendJson(response, { secret: 1 }));
    const engine = await startHttpEngine((_request, response) =>
      response.writeHead(307, { location: `${target.origin}/admin` }).end(),
    );
    cleanups.push(
      () => engine.close(),
      () => target.close(),
    );
    await register('a', engine.url);
    await waitForModels('m');
    const { status } = await post(CHAT, { model: 'm' }, {}, 'manual');
    expect([status, target.requests]).toEqual([307, []]);
  });
});

describe('a response that breaks off', () => {
  const EVENT_HEAD = 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: ';
  const EVENT = 'data: {}\n\n';

  /** Calls an engine that closes its connection after these bytes. Returns what the caller gets. */
  async function receive(bytes: string, version = '1.1', headers = ''): Promise<string> {
    const { register, gateway, waitForModels } = await startGateway();
    await register('a', await startByteEngine((socket) => socket.end(bytes, 'latin1')));
    await waitForModels('m');
    const head = `POST ${CHAT} HTTP/${version}\r\nhost: localhost\r\n${headers}content-length: 13`;
    return exchangeBytes(gateway.port, `${head}\r\n\r\n{"model":"m"}`);
  }

  it.each(['Text/Event-Stream', 'text/event-stream ; charset=utf-8'])(
    'has an error event with the type %s',
    async (type) => {
      const chunks = `${EVENT_HEAD}${type}\r\ntransfer-encoding: chunked\r\n\r\na\r\n${EVENT}\r\n`;
      expect(await receive(chunks)).toContain('event: error');
    },
  );

  it.each([
    ['lines that end with LF', 'data: {}\n\n', true],
    ['lines that end with CRLF', 'data: {}\r\n\r\n', true],
    ['lines that end with CR', 'data: {}\r\r', true],
    ['a comment at its end', 'data: {}\n\n: x\n\n', true],
    ['a part of a line at its end', 'data: {}\n\ndata: {"a', false],
    ['a part of an event at its end', 'data: {}\r\n', false],
    ['one byte', 'd', false],
  ])('with %s has an error event only after a whole event', async (_what, events, hasEvent) => {
    const chunk = `${events.length.toString(16)}\r\n${events}\r\n`;
    const received = await receive(`${EVENT_HEAD}text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${chunk}`);
    expect(received.includes('event: error')).toBe(hasEvent);
    expect(received.endsWith('0\r\n\r\n')).toBe(false);
  });

  it('makes a client fail as it does without the gateway', async () => {
    const { register, gateway, waitForModels } = await startGateway();
    const event = 'data: {"choices":[]}\n\n';
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
    const bytes = `${head}100\r\n${event}data: {"cho`;
    const url = await startByteEngine((socket) => socket.end(bytes));
    await register('a', url);
    await waitForModels('m');
    const readEvents = async (baseURL: string): Promise<void> => {
      const openai = new OpenAI({ baseURL, apiKey: '-', maxRetries: 0 });
      const events: unknown[] = [];
      const stream = await openai.chat.completions.create({ model: 'm', messages: [], stream: true });
      for await (const received of stream) events.push(received);
    };
    for (const baseURL of [url, `${gateway.url}/v1`]) await expect(readEvents(baseURL)).rejects.toThrow('terminated');
  });

  it('is not filled up to its length with an error event', async () => {
    const received = await receive(`${EVENT_HEAD}text/event-stream\r\ncontent-length: 20\r\n\r\n${EVENT}`);
    expect(received).toContain('content-length: 20');
    expect(received.slice(received.indexOf('\r\n\r\n') + 4)).toBe(EVENT);
  });

  it.each([
    ['HTTP/1.0', 'audio/mpeg', '1.0', ''],
    ['HTTP/1.0 within an event', 'text/event-stream', '1.0', ''],
    ['HTTP/1.0 and a kept connection', 'audio/mpeg', '1.0', 'connection: keep-alive\r\n'],
    ['a connection that is not kept', 'audio/mpeg', '1.1', 'connection: close\r\n'],
  ])('resets the connection of a caller that ends the body with it: %s', async (_how, type, version, headers) => {
    const chunks = `${EVENT_HEAD}${type}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n`;
    await expect(receive(chunks, version, headers)).rejects.toThrow('ECONNRESET');
  });

  it.each([
    ['HTTP/1.0', '1.0', ''],
    ['HTTP/1.0 and a kept connection', '1.0', 'connection: keep-alive\r\n'],
    ['a connection that is not kept', '1.1', 'connection: close\r\n'],
  ])('ends between two events with an error event, and then a reset: %s', async (_how, version, headers) => {
    const chunks = `${EVENT_HEAD}text/event-stream\r\ntransfer-encoding: chunked\r\n\r\na\r\n${EVENT}\r\n`;
    const { gateway, register, waitForModels } = await startGateway();
    await register('a', await startByteEngine((socket) => socket.end(chunks)));
    await waitForModels('m');
    const body = '{"model":"m","stream":true}';
    const head = `POST ${CHAT} HTTP/${version}\r\nhost: localhost\r\n${headers}content-length: ${body.length}\r\n\r\n`;
    const { socket, received } = openRawConnection(gateway.port, head + body);
    const errors: NodeJS.ErrnoException[] = [];
    socket.on('error', (error) => errors.push(error));
    await until('the connection is closed', () => socket.closed || socket.readableEnded);
    expect(received()).toMatch(/data: \{\}\n\n.*event: error\ndata: .*\n\n/s);
    expect(errors.map(({ code }) => code)).toEqual(['ECONNRESET']);
  });
});

it.each([
  ['a response', `200 OK\r\ncontent-type: application/json\r\n`],
  ['a stream', `200 OK\r\ncontent-type: text/plain\r\n`],
  ['an error', `503 Service Unavailable\r\n`],
])('repeated headers of %s are passed on to web pages, too', async (_what, head) => {
  const { register, post, waitForModels } = await startGateway({ corsOrigin: 'https://app.example' });
  const bytes = `HTTP/1.1 ${head}connection: close\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nx-a: 1\r\nX-A: 2\r\n\r\n{}`;
  await register('a', await startByteEngine((socket) => socket.end(bytes)));
  await waitForModels('m');
  const { headers } = await post(CHAT, { model: 'm' }, { origin: 'https://app.example' });
  expect(headers.getSetCookie()).toEqual(['a=1', 'b=2']);
  expect([headers.get('x-a'), headers.get('access-control-allow-origin')]).toEqual(['1, 2', 'https://app.example']);
});

describe('an address that is registered', () => {
  const check = createAddressCheck([], '--upstream-allow', (origin) => origin === 'http://keyed:8000');

  it.each([
    '169.254.169.254',
    '169.254.0.1',
    'fe80::1',
    'fe80::1%eth0',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '0:0:0:0:0:ffff:a9fe:a9fe',
    '64:ff9b::169.254.169.254',
    '2002:a9fe:a9fe::1',
    '::169.254.169.254',
    'fd00:ec2::254',
    'fd20:ce::254',
    'fd00:c1::a9fe:a9fe',
    '100.100.100.200',
    '168.63.129.16',
    '::ffff:100.100.100.200',
  ])('is not called if clouds have credentials there: %s', (address) => {
    expect(check(address, 'http://x')).toBe(false);
  });

  it.each(['10.0.0.1', '127.0.0.1', '::1', 'fd00::1', '8.8.8.8', '100.100.100.201'])('is called: %s', (address) => {
    expect(check(address, 'http://x')).toBe(true);
  });

  it.each([
    ['http://[::ffff:169.254.169.254]:80/v1'],
    ['http://169.254.169.254/latest'],
    ['http://2852039166/v1'],
    ['http://0xa9fea9fe/v1'],
    ['http://0251.0376.0251.0376/v1'],
    ['http://[fe80::1]/v1'],
  ])('is checked in every notation: %s', async (endpoint) => {
    const { register, post, waitForModels } = await startGateway();
    await register('a', endpoint);
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm' });
    expect(response.status).toBe(503);
    expect(await response.text()).toContain('not allowed');
  });
});
