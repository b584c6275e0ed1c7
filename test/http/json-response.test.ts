import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { createJsonResponse, sendText } from '../../src/http/json-response.js';

const servers: ReturnType<typeof createServer>[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

/** Starts a server with this handler. Returns its URL, and what it writes as several buffers at once. */
async function start(
  handle: (response: ServerResponse) => void,
): Promise<[url: string, writev: ReturnType<typeof vi.fn>]> {
  const writev = vi.fn();
  const server = createServer((_request, response) => handle(response));
  servers.push(server);
  server.on('connection', (socket) => {
    const { _writev } = socket;
    socket._writev = (chunks, callback) => {
      writev(chunks);
      _writev?.call(socket, chunks, callback);
    };
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return [`http://127.0.0.1:${(server.address() as AddressInfo).port}`, writev];
}

it('sends the head and the body with one write', async () => {
  const [url, writev] = await start((response) => sendText(response, 200, ['content-length', '1'], 'é', 'latin1'));
  const [json, jsonWritev] = await start(createJsonResponse(404, '{"detail":"é"}', { 'retry-after': '1' }));
  const response = await fetch(json);
  expect([response.status, response.headers.get('retry-after'), await response.text()]).toEqual([
    404,
    '1',
    '{"detail":"é"}',
  ]);
  expect(Buffer.from(await (await fetch(url)).arrayBuffer()).toString('latin1')).toBe('é');
  expect([writev.mock.calls, jsonWritev.mock.calls]).toEqual([[], []]);
});

it('sends no body in response to HEAD', async () => {
  const [url] = await start(createJsonResponse(200, '{}'));
  const response = await fetch(url, { method: 'HEAD' });
  expect([response.headers.get('content-length'), await response.text()]).toEqual(['2', '']);
});
