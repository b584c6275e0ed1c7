import type { IncomingMessage, ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { ServerTls } from '../../src/core/tls.js';
import { type Listener, type ListenerHandlers, type ListenerOptions, startListener } from '../../src/http/listener.js';
import { ConnectionLimit } from '../../src/http/open-files.js';
import { openRawConnection } from '../support/api-server.js';
import { createAuthority } from '../support/certificates.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const NO_LIMIT = { open: 0, limit: Number.POSITIVE_INFINITY };

/** Open files that leave room for 2 connections, none of which can hold a lease. */
const TWO_LEFT = { open: 90, limit: 100 };

const listeners: Listener[] = [];

afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close();
});

async function listen(
  handlers: Partial<ListenerHandlers> = {},
  options: Partial<ListenerOptions> = {},
): Promise<Listener> {
  const listener = await startListener(
    { host: '127.0.0.1', port: 0, clock: new ManualClock(), ...options },
    {
      handle: (request: IncomingMessage, response: ServerResponse) => void response.end(`you asked for ${request.url}`),
      formatError: (detail) => `{"problem":"${detail}"}`,
      connections: new ConnectionLimit(NO_LIMIT),
      ...handlers,
    },
  );
  listeners.push(listener);
  return listener;
}

it('hands a request to the handler when the response to the previous one is sent', async () => {
  const waiting: ServerResponse[] = [];
  const { port } = await listen({ handle: (_request, response) => void waiting.push(response) });
  const { received } = openRawConnection(port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2));
  await until('the first is handled', () => waiting.length > 0);
  expect(await fetchStatus(port, () => waiting.pop()?.writeHead(204).end())).toBe(204);
  expect(waiting.length).toBe(1);
  waiting[0]?.end('first');
  await until('the second is handled', () => waiting.length === 2);
  waiting[1]?.end('second');
  await until('both have a response', () => /first.*second/s.test(received()));

  /** Sends a request on another connection, and calls `respond` when it is handled. */
  async function fetchStatus(on: number, respond: () => void): Promise<number> {
    const before = waiting.length;
    const responded = fetch(`http://127.0.0.1:${on}/b`);
    await until('it is handled', () => waiting.length > before);
    respond();
    return (await responded).status;
  }
});

it('has a URL, and is closed with all its connections', async () => {
  const listener = await listen();
  expect(listener).toMatchObject({ url: `http://127.0.0.1:${listener.port}`, address: '127.0.0.1' });
  expect(await (await fetch(`${listener.url}/a`)).text()).toBe('you asked for /a');
  const { socket, received } = openRawConnection(listener.port, 'GET /half HTTP/1.1\r\n');
  await until('it is connected', () => !socket.connecting);
  await listener.close();
  await until('it is closed', () => socket.closed || socket.readableEnded);
  expect(received()).toBe('');
  await expect(fetch(listener.url)).rejects.toThrow();
});

it('closes connections after their response once keep-alive is stopped', async () => {
  const listener = await listen();
  const connectionHeader = async () => (await fetch(listener.url)).headers.get('connection');
  expect(await connectionHeader()).toBe('keep-alive');
  listener.stopKeepAlive();
  expect(await connectionHeader()).toBe('close');
});

it('formats the response to a request that is not HTTP, and sends none on a connection that was taken over', async () => {
  const { port } = await listen();
  const { received } = openRawConnection(port, 'GET /ä HTTP/1.1\r\n\r\n');
  await until('there is a response', () => received().includes('{"problem":"the request target has non-ASCII bytes;'));
  expect(received()).toMatch(/^HTTP\/1.1 400 Bad Request\r\nConnection: close\r\n/);
  let ignored = 0;
  const isTakenOver = (): boolean => ++ignored > 0;
  const taken = openRawConnection((await listen({ isTakenOver })).port, 'GET /ä HTTP/1.1\r\n\r\n');
  await until('the error is ignored', () => ignored > 0);
  expect(taken.received()).toBe('');
});

it('says that a request target without a slash needs one', async () => {
  const { port } = await listen();
  for (const target of ['v1/models', '?a=1', 'models']) {
    const { received } = openRawConnection(port, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('there is a response', () =>
      received().includes('{"problem":"the request target must start with a slash'),
    );
  }
});

describe('what is not HTTP after valid requests', () => {
  const VALID = ['/a', '/b'].map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join('');

  it.each([
    ['in the same packet', `${VALID}GARBAGE\r\n\r\n`, ''],
    ['in further packets', VALID, 'GARBAGE\r\n\r\n'],
  ])('gets a 400 after their responses: %s', async (_how, first, next) => {
    const waiting: ServerResponse[] = [];
    const { port } = await listen({ handle: (_request, response) => void waiting.push(response) });
    const { socket, received } = openRawConnection(port, first);
    for (const path of ['a', 'b']) {
      await until('the next one is handled', () => waiting.length > 0);
      if (next !== '') socket.write(next);
      await new Promise((resolve) => void setTimeout(resolve, 20));
      waiting.pop()?.end(`response to ${path}`);
    }
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(
      /^HTTP\/1\.1 200 .*response to aHTTP\/1\.1 200 .*response to bHTTP\/1\.1 400 .*\{"problem":/s,
    );
    expect(received().split('HTTP/1.1 400').length).toBe(2);
  });

  it('is ignored if the connection closes with the last response', async () => {
    const { port } = await listen();
    const closing = 'GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    const { socket, received } = openRawConnection(port, `${closing}GARBAGE\r\n\r\n`);
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 200 .*you asked for \/a$/s);
  });

  it('closes the connection of a client that leaves', async () => {
    const waiting: ServerResponse[] = [];
    const { port } = await listen({ handle: (_request, response) => void waiting.push(response) });
    const { socket } = openRawConnection(port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n');
    await until('it is handled', () => waiting.length > 0);
    socket.end();
    await until('its response is closed', () => waiting[0]?.closed === true);
    expect(waiting[0]?.writableFinished).toBe(false);
  });

  it('gets a 408 after their responses if it does not arrive in time', async () => {
    const waiting: ServerResponse[] = [];
    const { port } = await listen(
      { handle: (_request, response) => void waiting.push(response) },
      { headTimeoutMs: 100, requestTimeoutMs: 200 },
    );
    const { socket, received } = openRawConnection(port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n');
    await until('the first one is handled', () => waiting.length > 0);
    await new Promise((resolve) => void setTimeout(resolve, 400));
    expect(received()).toBe('');
    waiting[0]?.end('response to a');
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 200 .*response to aHTTP\/1\.1 408 /s);
  });

  it('gets a 400 at once in the body of a request', async () => {
    const { port } = await listen({ handle: () => {} });
    const head = 'POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
    const { received } = openRawConnection(port, `${head}GARBAGE\r\n`);
    await until('there is a response', () => received().startsWith('HTTP/1.1 400 '));
  });
});

it('refuses connections beyond the limit of open files', async () => {
  const connections = new ConnectionLimit(TWO_LEFT);
  const listener = await listen({ connections });
  expect(connections.findProblem()).toBeUndefined();
  const [first, second] = [openRawConnection(listener.port, ''), openRawConnection(listener.port, '')];
  await until('both are counted', () => connections.findProblem()?.startsWith('92 ') === true);
  expect(connections.findProblem()).toBe('92 of 100 file descriptors are in use; raise the limit with ulimit -n');
  const third = openRawConnection(listener.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await until('the third is closed', () => third.socket.closed || third.socket.readableEnded);
  expect(third.received()).toBe('');
  for (const { socket } of [first, second]) socket.destroy();
  await until('there is capacity', () => connections.findProblem() === undefined);
});

it('throws `failed` for an address in use, and stops polling for certificates', async () => {
  const { port } = await listen();
  const clock = new ManualClock();
  const certificate = createAuthority().sign('server');
  await expect(listen({}, { port, clock, tls: () => certificate })).rejects.toMatchObject({
    code: 'failed',
    message: expect.stringContaining(`127.0.0.1:${port} is already in use`),
  });
  expect(clock.pending()).toEqual([]);
});

it('presents a certificate that has changed', async () => {
  const clock = new ManualClock();
  const [before, after] = [createAuthority().sign('server'), createAuthority().sign('server')];
  let current: ServerTls = before;
  const { url, port } = await listen({}, { clock, tls: () => current });
  expect(url).toBe(`https://127.0.0.1:${port}`);
  const first = await fetchCertificate(port);
  current = after;
  clock.advance(1000);
  expect(await fetchCertificate(port)).not.toBe(first);
});

/** Returns the fingerprint of the certificate of a server on loopback. */
function fetchCertificate(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, rejectUnauthorized: false, agent: false };
    httpsRequest(options, (response) => {
      resolve((response.socket as TLSSocket).getPeerCertificate().fingerprint256);
      response.resume();
    })
      .once('error', reject)
      .end();
  });
}
