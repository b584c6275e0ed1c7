import { expect, it } from 'vitest';
import { checkEndpoint } from '../../../src/client/diagnosis/endpoint-check.js';
import { checkPort } from '../../../src/client/diagnosis/machine-checks.js';
import { asEndpoint } from '../../../src/core/ids.js';
import { clock } from '../../../src/system.js';
import { createEchoBackend } from '../../../src/worker/echo-backend.js';
import { closeAfterEach } from '../../support/close-after-each.js';
import { startTcpServer } from '../../support/tcp-server.js';
import { startTestWorker } from '../../support/worker.js';

const closing = closeAfterEach();

/** Checks an endpoint. Returns `status: detail`. */
async function check(endpoint: string): Promise<string> {
  const options = { clock, signal: new AbortController().signal, tls: undefined };
  const { status, detail } = await checkEndpoint(asEndpoint(endpoint), 'r1', options);
  return `${status}: ${detail.replace(/\d+ ms/, 'N ms')}`;
}

/** Starts a server that sends this response to everything. */
async function startResponder(response: string) {
  return closing(await startTcpServer((socket) => void socket.end(response)));
}

it('accepts a gRPC server at host:port', async () => {
  const worker = await startTestWorker(createEchoBackend());
  expect(await check(worker.replica.endpoint)).toBe('ok: speaks gRPC, responds in N ms');
  await worker.stop();
});

it('reports an HTTP/1.1 server at host:port, with the URL to register', async () => {
  const { port } = await startResponder('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
  const reason = `it speaks HTTP/1.1, not gRPC; register its URL, such as http://127.0.0.1:${port}/v1`;
  expect(await check(`127.0.0.1:${port}`)).toBe(`failed: ${reason}`);
});

it('reports a server at host:port that responds in another protocol', async () => {
  const { port } = await startResponder('SSH-2.0-OpenSSH_9.2\r\n');
  const reason = 'it responds, but not in gRPC; if it uses TLS, give --tls';
  expect(await check(`127.0.0.1:${port}`)).toBe(`failed: ${reason}`);
});

it('reports a server at host:port that closes each connection', async () => {
  const { port } = closing(await startTcpServer((socket) => void socket.destroy()));
  expect(await check(`127.0.0.1:${port}`)).toMatch(
    /^failed: .*; is it a gRPC server, and does it use TLS \(--tls\)\?$/,
  );
});

it('reports a server at a URL that does not respond in HTTP', async () => {
  const { origin: greeting } = await startResponder('SSH-2.0-OpenSSH_9.2\r\n');
  expect(await check(`${greeting}/v1`)).toBe('failed: its response is not HTTP');
  const { origin: closed } = closing(await startTcpServer((socket) => void socket.destroy()));
  expect(await check(`${closed}/v1`)).toBe('failed: it closed the connection without a response');
});

it('accepts an HTTP server at a URL, also one that requires a key', async () => {
  const { origin } = await startResponder('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n');
  expect(await check(`${origin}/v1`)).toBe('ok: speaks HTTP, responds in N ms');
});

it('reports an endpoint where nothing listens, without repeating it', async () => {
  expect(await check('127.0.0.1:1')).toBe('failed: nothing listens there');
  expect(await check('http://127.0.0.1:1/v1')).toMatch(/^failed: nothing listens there$/);
});

it('reports whether a port is free', async () => {
  const { port } = closing(await startTcpServer(() => {}));
  expect(await checkPort(port)).toMatchObject({ status: 'failed', detail: expect.stringContaining('another program') });
  const { port: closedPort, close } = await startTcpServer(() => {});
  await close();
  expect(await checkPort(closedPort)).toMatchObject({ status: 'ok', detail: 'free' });
});
