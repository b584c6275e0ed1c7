import { createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createAddressCheck } from '../../src/http/engine-client/address-check.js';
import { startTestGateway } from '../support/gateway.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';

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
