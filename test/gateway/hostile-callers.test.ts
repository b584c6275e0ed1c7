import type { ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createRequestFilter, parsePassedHeader } from '../../src/client/http-calls/forwarded-headers.js';
import { CallerKeys } from '../../src/credentials/caller-keys.js';
import { openRawConnection } from '../support/api-server.js';
import { startTestGateway } from '../support/gateway.js';
import { type HttpEngine, type ReceivedRequest, sendJson, startHttpEngine } from '../support/http-engine.js';
import { exchangeBytes } from '../support/raw-exchange.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CHAT = '/v1/chat/completions';

/** Starts a gateway with an engine that offers the model `m`. */
async function startFleet(
  options: Parameters<typeof startTestGateway>[0] = {},
  respond: Parameters<typeof startHttpEngine>[0] = (_request, response) => sendJson(response, { ok: true }),
) {
  const started = await startTestGateway(options, options.findCaller && KEY);
  cleanups.push(() => started.close());
  const engine: HttpEngine = await startHttpEngine(respond);
  cleanups.push(() => engine.close());
  await started.register('a', engine.url);
  await started.waitForModels('m');
  return { ...started, engine };
}

const KEY = 'key-of-alice-1234567';
const BODY = '{"model":"m"}';

const keys = new CallerKeys([`alice ${KEY}`], 'keys');
const findCaller = keys.find.bind(keys);

describe('a request that could be read in two ways', () => {
  const line = `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n`;
  const length = `content-length: ${BODY.length}\r\n`;

  it.each([
    ['a length and chunks', `${line}${length}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two lengths', `${line}${length}content-length: 0\r\n\r\n${BODY}`],
    ['a signed length', `${line}content-length: +13\r\n\r\n${BODY}`],
    ['a list of lengths', `${line}content-length: 13, 13\r\n\r\n${BODY}`],
    ['an unknown transfer encoding', `${line}transfer-encoding: xchunked\r\n\r\n${BODY}`],
    ['a compressed body in chunks', `${line}transfer-encoding: gzip, chunked\r\n\r\nd\r\n${BODY}\r\n0\r\n\r\n`],
    ['a coding that is none', `${line}transfer-encoding: identity, chunked\r\n\r\nd\r\n${BODY}\r\n0\r\n\r\n`],
    ['two codings', `${line}${'transfer-encoding: chunked\r\n'.repeat(2)}\r\nd\r\n${BODY}\r\n0\r\n\r\n`],
    [
      'chunks with HTTP/1.0',
      `${line.replace('1.1', '1.0')}transfer-encoding: chunked\r\n\r\nd\r\n${BODY}\r\n0\r\n\r\n`,
    ],
    ['no host', `${line.replace(/host: [^\r]+\r\n/, '')}${length}\r\n${BODY}`],
    ['an unknown expectation', `${line}${length}expect: 200-ok\r\n\r\n${BODY}`],
    ['chunks that are encoded twice', `${line}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ['a folded header', `${line}${length}x-a: 1\r\n content-length: 0\r\n\r\n${BODY}`],
    ['a space before a colon', `${line}content-length : 13\r\n\r\n${BODY}`],
    ['a line feed alone', `${line}${length}x-a: 1\nx-b: 2\r\n\r\n${BODY}`],
    ['a carriage return in a header', `${line}${length}x-request-id: a\rb\r\n\r\n${BODY}`],
    ['a null byte in a header', `${line}${length}x-request-id: a\0b\r\n\r\n${BODY}`],
    ['a chunk size that is not a number', `${line}transfer-encoding: chunked\r\n\r\n1g\r\n{\r\n0\r\n\r\n`],
    ['a negative chunk size', `${line}transfer-encoding: chunked\r\n\r\n-1\r\n{\r\n0\r\n\r\n`],
    ['two hosts', `${line}host: other\r\n${length}\r\n${BODY}`],
    [
      'two types',
      `${line}content-type: application/json\r\ncontent-type: multipart/form-data; boundary=b\r\n${length}\r\n${BODY}`,
    ],
    ['a compressed body', `${line}content-encoding: gzip\r\n${length}\r\n${BODY}`],
    ['a body with a comment', `${line}content-length: 17\r\n\r\n{"model":"m"/**/}`],
    ['a body with a byte order mark', Buffer.from(`${line}content-length: 16\r\n\r\n\ufeff${BODY}`)],
  ])('is refused: %s', async (_what, bytes) => {
    const { gateway, engine } = await startFleet();
    const received = await exchangeBytes(gateway.port, bytes);
    expect(received).toMatch(/^HTTP\/1\.1 (?:400|415|417|501) .*connection: close\r\n/is);
    expect(received.slice(received.indexOf('\r\n\r\n') + 4)).toMatch(
      /^\{"error":\{"message":".+","type":"invalid_request_error","param":null,"code":null\}\}$/,
    );
    expect(engine.requests).toEqual([]);
  });

  it.each([
    ['CONNECT', 'CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n'],
    ['an unknown method', `SPY ${CHAT} HTTP/1.1\r\nhost: localhost\r\n\r\n`],
    ['TRACE', `TRACE ${CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
    ['PUT', `PUT ${CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
    ['another path in capitals', `POST /V1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
    ['a path with a semicolon', `POST ${CHAT};x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
  ])('never reaches an engine: %s', async (_what, bytes) => {
    const { gateway, engine } = await startFleet();
    expect(await exchangeBytes(gateway.port, bytes)).toMatch(/^$|^HTTP\/1\.1 4/);
    expect(engine.requests).toEqual([]);
  });

  it('is not one with a content coding that changes nothing, in any case', async () => {
    const { post, engine } = await startFleet();
    for (const coding of ['identity', 'Identity'])
      expect((await post(CHAT, BODY, { 'content-encoding': coding })).status).toBe(200);
    expect(engine.requests.map(({ body, headers }) => [body, headers['content-encoding']])).toEqual([
      [BODY, undefined],
      [BODY, undefined],
    ]);
  });

  it('reaches the engine as one request, with its bytes, whatever the form', async () => {
    const { gateway, engine } = await startFleet();
    const smuggled = `POST /v1/load_lora_adapter HTTP/1.1\r\nhost: x\r\n\r\n`;
    const body = `{"model":"m","x":${JSON.stringify(smuggled)}}`;
    const head = `POST http://other.example${CHAT}?a=%0d%0a HTTP/1.1\r\nhost: localhost\r\nconnection: close`;
    const chunked = `${head}\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)};a=b\r\n${body}\r\n0\r\nx-trailer: 1\r\n\r\n`;
    await exchangeBytes(gateway.port, chunked.replace('http://other.example', 'http://localhost'));
    expect(engine.requests.map(({ url, body: received }) => [url, received])).toEqual([[`${CHAT}?a=%0d%0a`, body]]);
    const { headers } = engine.requests[0] as ReceivedRequest;
    expect([headers['transfer-encoding'], headers['x-trailer']]).toEqual([undefined, undefined]);
  });
});

describe('headers of a caller', () => {
  it('that steer stay at the gateway', async () => {
    const { post, engine } = await startFleet();
    const steering = { 'x-anyserve-query': '', 'X-Anyserve-Selector': 'model', 'x-anyserve-other': '1' };
    expect((await post(CHAT, { model: 'm' }, steering)).status).toBe(200);
    expect(Object.keys(engine.requests[0]?.headers ?? {}).filter((name) => /anyserve/i.test(name))).toEqual([]);
  });

  it.each([
    'Host',
    'content-length',
    'Transfer-Encoding',
    'connection',
    'authorization',
    'X-Anyserve-Query',
    'accept-encoding',
    'content-encoding',
    'a b',
    '',
  ])('can not be passed on if the gateway needs them: %s', (name) => {
    expect(() => parsePassedHeader(name)).toThrow('is not a header that can be passed on');
  });

  it('can be passed on otherwise', () => {
    const filter = createRequestFilter([parsePassedHeader('Api-Key')]);
    expect(filter(['api-key', '1', 'cookie', 'a=b'])).toEqual(['accept-encoding', 'identity', 'api-key', '1']);
  });
});

it('a body whose length is over the limit is refused before it has arrived', async () => {
  const { gateway, engine } = await startFleet();
  const head = `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2000000\r\n\r\n`;
  expect(await exchangeBytes(gateway.port, `${head}{"model":"m",`)).toMatch(
    /^HTTP\/1\.1 413 .*"code":"request_too_large"/s,
  );
  expect(engine.requests).toEqual([]);
});

describe('a caller that waits for 100 Continue', () => {
  it.each([
    [401, `POST ${CHAT}`, 'authorization: Bearer other'],
    [404, 'POST /v1/load_lora_adapter', ''],
    [405, `PUT ${CHAT}`, ''],
    [413, `POST ${CHAT}`, 'content-length: 2000000'],
    [415, `POST ${CHAT}`, 'content-encoding: gzip'],
  ])('does not get it before a %i', async (status, start, header) => {
    const { gateway } = await startFleet({ findCaller });
    const lines = [
      `${start} HTTP/1.1`,
      'host: localhost',
      'expect: 100-continue',
      ...(header.startsWith('auth') ? [] : [`authorization: Bearer ${KEY}`]),
      ...(header.startsWith('content-length') ? [] : ['content-length: 13']),
      ...(header === '' ? [] : [header]),
    ];
    const { socket, received } = openRawConnection(gateway.port, `${lines.join('\r\n')}\r\n\r\n`);
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(new RegExp(`^HTTP/1.1 ${status} .*connection: close\r\n`, 'is'));
    socket.destroy();
  });

  it('gets it, and then a response', async () => {
    const { gateway, engine } = await startFleet();
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 13\r\n\r\n`;
    const { socket, received } = openRawConnection(gateway.port, head);
    await until('it is asked for the body', () => received() === 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(BODY);
    await until('there is a response', () => received().includes('HTTP/1.1 200 OK'));
    expect(engine.requests.map(({ body, headers }) => [body, headers['expect']])).toEqual([[BODY, undefined]]);
    socket.destroy();
  });
});

it.each([
  ['an unknown key', 401],
  ['a health check', 200],
])('the body of a request is not read without end: %s', async (_what, status) => {
  const { gateway } = await startFleet({ findCaller });
  const path = status === 200 ? '/livez' : CHAT;
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300000000\r\n\r\n`;
  const { socket, received } = openRawConnection(gateway.port, head);
  await until('there is a response', () => received() !== '' && socket.readableEnded);
  expect(received()).toMatch(new RegExp(`^HTTP/1.1 ${status} .*connection: close\r\n`, 'is'));
  for (let sent = 0; sent < 60 && !socket.closed; sent++) {
    if (!socket.write(Buffer.alloc(1024 * 1024)))
      await Promise.race(['drain', 'close'].map((name) => new Promise((resolve) => socket.once(name, resolve))));
  }
  await until('the connection is closed', () => socket.closed);
});

describe('a name of 1 MB', () => {
  const LONG = 'x'.repeat(1024 * 1024 - 100);

  it('of a model is refused with a short response, and is not kept', async () => {
    const { post, finished } = await startFleet();
    const response = await post(CHAT, `{"model":"${LONG}"}`);
    expect(response.status).toBe(404);
    expect((await response.text()).length).toBeLessThan(1000);
    expect(finished[0]?.model?.length).toBeLessThan(300);
  });

  it('of a conversation is hashed only in part', async () => {
    const { post } = await startFleet({ pick: 'affinity' });
    expect((await post(CHAT, `{"model":"m","user":"${LONG}"}`)).status).toBe(200);
  });
});

it('names that are members of all objects are names of models like others', async () => {
  const { post, register, waitForModels } = await startFleet();
  for (const name of ['constructor', 'toString']) expect((await post(CHAT, { model: name })).status).toBe(404);
  expect((await post(CHAT, '{"model":"__proto__"}')).status).toBe(404);
  expect((await post(CHAT, '{"__proto__":{"model":"m"}}')).status).toBe(400);
  expect((await post(CHAT, { model: 'm' }, { 'x-anyserve-query': '__proto__=1' })).status).toBe(404);
  await register('b', 'http://127.0.0.1:1/v1', JSON.parse('{"model":"__proto__","__proto__":"1"}'));
  await waitForModels('__proto__', 'm');
});

it('an id that is not well-formed Unicode does not break the response of its replica', async () => {
  const { post, register, engine, waitForModels } = await startFleet();
  await register('\ud800\r\n', engine.url, { model: 'strange' });
  await waitForModels('m', 'strange');
  const response = await post(CHAT, { model: 'strange' });
  expect([response.status, response.headers.get('x-anyserve-replica')]).toEqual([200, '%EF%BF%BD%0D%0A']);
});

describe('a key', () => {
  it.each([
    ['twice', `authorization: Bearer ${KEY}\r\nauthorization: Bearer ${KEY}\r\n`],
    ['with another one', `authorization: Bearer x\r\nauthorization: Bearer ${KEY}\r\n`],
    ['in another scheme', `authorization: Basic ${KEY}\r\n`],
    ['without a scheme', `authorization: ${KEY}\r\n`],
    ['with more text', `authorization: Bearer ${KEY}, x\r\n`],
    ['in capitals', `authorization: Bearer ${KEY.toUpperCase()}\r\n`],
    ['in part', `authorization: Bearer ${KEY.slice(0, -1)}\r\n`],
    ['in another header', `x-api-key: ${KEY}\r\nproxy-authorization: Bearer ${KEY}\r\n`],
    ['that is empty', 'authorization: Bearer \r\n'],
    ['as a name', 'authorization: Bearer alice\r\n'],
    ['of 15 KB', `authorization: Bearer ${'x'.repeat(15_000)}\r\n`],
  ])('is refused %s, before the path is looked at', async (_how, headers) => {
    const { gateway, engine } = await startFleet({ findCaller });
    for (const target of [`POST ${CHAT}`, 'GET /v1/models', 'POST /v1/other', 'GET /metrics']) {
      const head = `${target}?key=${KEY}&api_key=${KEY} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}`;
      const response = await exchangeBytes(gateway.port, `${head}content-length: 13\r\n\r\n{"model":"m"}`);
      expect(response).toMatch(/^HTTP\/1\.1 401 /);
      expect(response).not.toContain(KEY);
    }
    expect(engine.requests).toEqual([]);
  });
});

describe('a web page', () => {
  const callFrom = (origin: string, host = 'localhost') =>
    `POST ${CHAT} HTTP/1.1\r\nhost: ${host}\r\norigin: ${origin}\r\nconnection: close\r\ncontent-type: text/plain\r\n` +
    'content-length: 13\r\n\r\n{"model":"m"}';

  it('of another origin can not call a gateway without keys', async () => {
    const { gateway, engine } = await startFleet();
    for (const origin of ['http://evil.example', 'null', 'http://6.6.6.6', 'file://'])
      expect(await exchangeBytes(gateway.port, callFrom(origin))).toMatch(/^HTTP\/1\.1 403 /);
    expect(engine.requests).toEqual([]);
  });

  it('whose name resolves to the gateway can not call it', async () => {
    const { gateway, engine } = await startFleet({ allowedHosts: ['good.example'] });
    const rebound = 'evil.example:8000';
    expect(await exchangeBytes(gateway.port, callFrom(`http://${rebound}`, rebound))).toMatch(/^HTTP\/1\.1 421 /);
    const list = `GET /v1/models HTTP/1.1\r\nhost: ${rebound}\r\nconnection: close\r\n\r\n`;
    expect(await exchangeBytes(gateway.port, list)).toMatch(/^HTTP\/1\.1 421 /);
    expect(engine.requests).toEqual([]);
    expect(await exchangeBytes(gateway.port, list.replace(rebound, 'good.example'))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('of the allowed origin can call, without credentials of the browser', async () => {
    const { gateway } = await startFleet({ corsOrigin: 'https://app.example' });
    const response = await exchangeBytes(gateway.port, callFrom('https://app.example'));
    expect(response).toMatch(/^HTTP\/1\.1 200 /);
    expect(response).toContain('access-control-allow-origin: https://app.example\r\n');
    // Without it, a page can't read retry-after, x-should-retry and the engine's headers.
    expect(response).toContain('access-control-expose-headers: *\r\n');
    expect(response).not.toContain('access-control-allow-credentials');
    expect(await exchangeBytes(gateway.port, callFrom('https://app.example.evil'))).toMatch(/^HTTP\/1\.1 403 /);
  });

  it.each(['https://app.example/', 'https://App.example', 'https://app.example:443', 'app.example', ''])(
    'of %j can never call, because no browser sends it, so the gateway refuses it',
    async (corsOrigin) => {
      const problem = `--cors "${corsOrigin}": give an origin as a browser sends it`;
      await expect(startFleet({ corsOrigin })).rejects.toThrow(problem);
    },
  );

  it.each(['http://localhost:3000', 'app://localhost', 'null'])('of the origin %s can call', async (corsOrigin) => {
    const { gateway } = await startFleet({ corsOrigin });
    expect(await exchangeBytes(gateway.port, callFrom(corsOrigin))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('can call with a key, which it has to know', async () => {
    const { gateway } = await startFleet({ findCaller });
    const call = callFrom('http://evil.example');
    expect(await exchangeBytes(gateway.port, call)).toMatch(/^HTTP\/1\.1 401 /);
    const withKey = call.replace('origin:', `authorization: Bearer ${KEY}\r\norigin:`);
    expect(await exchangeBytes(gateway.port, withKey)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

/** A caller that sends calls and does not read. */
function sendUnreadCalls(port: number, count: number): Socket {
  const socket = connect(port, '127.0.0.1');
  cleanups.push(() => socket.destroy());
  socket.on('error', () => {});
  socket.pause();
  socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\r\n{"model":"m"}`.repeat(count));
  return socket;
}

describe('a caller that reads nothing', () => {
  it.each([
    ['200 KB of JSON', (response: ServerResponse) => sendJson(response, 'x'.repeat(200 * 1024))],
    ['an error of 900 KB', (response: ServerResponse) => sendJson(response, 'x'.repeat(900 * 1024), 500)],
    ['a long stream', (response: ServerResponse) => response.end(Buffer.alloc(64 * 1024 * 1024))],
  ])('is disconnected: %s', async (_what, respond) => {
    const { gateway, engine, finished } = await startFleet({ readTimeoutMs: 200 }, (_request, response) =>
      respond(response),
    );
    // As many calls as the buffers of the kernel can't hold.
    const socket = sendUnreadCalls(gateway.port, 200);
    // It can close before this test reads from it.
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await until('calls reach the engine', () => engine.requests.length > 0);
    // The buffers are full when no further call is made. The gateway is in this process, so its timer runs before the caller reads.
    for (let made = 0; made < engine.requests.length; ) {
      made = engine.requests.length;
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    socket.resume();
    await closed;
    expect(finished.length).toBeLessThan(200);
  });

  it('is disconnected, even if it sends another request meanwhile', async () => {
    let upstream: Socket | null = null;
    const { gateway, finished } = await startFleet({ readTimeoutMs: 1000 }, (_request, response) => {
      upstream = response.socket;
      response.end(Buffer.alloc(64 * 1024 * 1024));
    });
    const socket = sendUnreadCalls(gateway.port, 1);
    let written = -1;
    await until('the buffers are full', async () => {
      const before = written;
      written = upstream?.bytesWritten ?? -1;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return written > 0 && written === before;
    });
    socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\r\n{"model":"m"}`);
    await until('its call has ended', () => finished.length > 0);
    expect(finished.map(({ status }) => status)).toEqual([499]);
  });
});
