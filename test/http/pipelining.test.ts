import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { rawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { collectGarbage } from '../support/kept-memory.js';
import { until } from '../support/until.js';

const REQUESTS = 'http.server.request.start';

/** Well before the server closes a connection on which no request comes, which is after 5 s. */
const SOON_MS = 3000;

let server: TestApiServer;
/** The responses of all requests so far, for as long as something keeps them. */
let responses: WeakRef<ServerResponse>[];

function note(message: unknown): void {
  responses.push(new WeakRef((message as { response: ServerResponse }).response));
}

beforeEach(async () => {
  responses = [];
  subscribe(REQUESTS, note);
  server = await startTestApiServer();
});

afterEach(async () => {
  unsubscribe(REQUESTS, note);
  await server.close();
});

it.each([
  ['a route', 'GET /route HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a renewal', 'PUT /leases/none HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'],
  ['a list', 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['an expectation', 'GET /livez HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n'],
])('a connection that waits for its next request keeps nothing of an answer: %s', async (_what, request) => {
  const { socket, received } = rawConnection(server.port, request);
  const answers = (): number => received().split('HTTP/1.1 ').length - 1;
  await until('there is an answer', () => answers() === 1);
  socket.write(request.repeat(3));
  await until('all are answered', () => answers() === 4);
  const areForgotten = (): boolean => {
    collectGarbage();
    return responses.length === 4 && responses.every((response) => response.deref() === undefined);
  };
  await until('they are forgotten', areForgotten, SOON_MS);
  expect(socket.readable).toBe(true);
  socket.destroy();
});
