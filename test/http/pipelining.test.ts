import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { collectGarbage } from '../support/retained-memory.js';
import { until } from '../support/until.js';

const REQUESTS = 'http.server.request.start';

/** Less than the 75 s after which the server closes an idle connection. */
const SOON_MS = 30_000;

let server: TestApiServer;
/** The responses to all requests so far, unless they were garbage-collected. */
let responses: WeakRef<ServerResponse>[];

function recordResponse(message: unknown): void {
  responses.push(new WeakRef((message as { response: ServerResponse }).response));
}

beforeEach(async () => {
  responses = [];
  subscribe(REQUESTS, recordResponse);
  server = await startTestApiServer();
});

afterEach(async () => {
  unsubscribe(REQUESTS, recordResponse);
  await server.close();
});

it.each([
  ['a route', 'GET /route HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a renewal', 'PUT /leases/none HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'],
  ['a list', 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['an expectation', 'GET /livez HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n'],
])('an idle connection keeps no response in memory: %s', async (_what, request) => {
  const { socket, received } = openRawConnection(server.port, request);
  const countResponses = (): number => received().split('HTTP/1.1 ').length - 1;
  await until('there is a response', () => countResponses() === 1);
  socket.write(request.repeat(3));
  await until('all requests have a response', () => countResponses() === 4);
  const areCollected = (): boolean => {
    collectGarbage();
    return responses.length === 4 && responses.every((response) => response.deref() === undefined);
  };
  await until('the responses are garbage-collected', areCollected, SOON_MS);
  expect(socket.readable).toBe(true);
  socket.destroy();
});
