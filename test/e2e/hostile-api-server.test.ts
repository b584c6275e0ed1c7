import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Writable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { stopAll } from '../support/binary.js';
import { runMeasured } from '../support/peak-memory.js';

/** A command that makes one request uses about 70 MB. */
const FOR_SMALL_ANSWERS_MB = 160;

/** While events arrive as fast as possible, Node.js 24 lets its young generation grow by 150 MB. 400 MB are sent. */
const FOR_STREAMS_MB = 320;

/** The list of 100,000 replicas uses about 400 MB. A response that is refused must not use much more. */
const FOR_LISTS_MB = 900;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(stopAll);

async function startHostileServer(
  respond: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(respond);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends the same bytes repeatedly, up to `maxBytes` in total, as fast as the client reads them. */
function flood(response: Writable, piece: string, maxBytes = 400 * 1024 * 1024): void {
  const chunk = Buffer.from(piece.repeat(Math.ceil((256 * 1024) / piece.length)));
  let sent = 0;
  const more = (): void => {
    while (!response.destroyed && sent < maxBytes) {
      sent += chunk.length;
      if (!response.write(chunk)) return void response.once('drain', more);
    }
    response.end();
  };
  more();
}

const text = (status: number, body: string) => (_request: IncomingMessage, response: ServerResponse) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);

describe('a hostile API server can waste neither the memory nor the time of', () => {
  it.each<[string, Parameters<typeof startHostileServer>[0]]>([
    ['an endless route', (_request, response) => flood(response.writeHead(200), '{"endpoint":"')],
    ['an endless error', (_request, response) => flood(response.writeHead(500), 'x')],
    ['an endless "no match" response', (_request, response) => flood(response.writeHead(404), '[')],
    ['a route one byte at a time', (_request, response) => void setInterval(() => response.write(' '), 20).unref()],
    ['a redirect', (_request, response) => response.writeHead(307, { location: 'http://127.0.0.1:1/route' }).end()],
    [
      'an inflated route',
      (_request, response) =>
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(64 * 1024 * 1024))),
    ],
    ['long headers', (_request, response) => response.writeHead(200, { x: 'y'.repeat(100_000) }).end('{}')],
  ])('route: %s', async (_what, respond) => {
    const startedAtMs = Date.now();
    const { code, stderr, peakMb } = await runMeasured([
      'route',
      'type=chat',
      '--server',
      await startHostileServer(respond),
    ]);
    expect({ code, stderr }).toEqual({ code: 4, stderr: expect.stringMatching(/^anyserve: [^\n]+\n$/) });
    expect(peakMb).toBeLessThan(FOR_SMALL_ANSWERS_MB);
    // The timeouts of a request, the start of a process, and twice as much for a busy machine.
    expect(Date.now() - startedAtMs).toBeLessThan(30_000);
  });

  it.each<[string, Parameters<typeof startHostileServer>[0]]>([
    ['an endless list', (_request, response) => flood(response.writeHead(200), '{"replicas":[')],
    ['24 MB of empty objects', text(200, `{"replicas":[${'{},'.repeat(8_000_000)}{}]}`)],
    ['24 MB of numbers', text(200, `{"replicas":[${'1,'.repeat(12_000_000)}1]}`)],
    ['24 MB of keys', text(200, `{"replicas":[{${'"a":1,'.repeat(4_000_000)}"a":1}]}`)],
    [
      '10 million chunks of one byte',
      ({ socket }) => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        flood(socket, '1\r\n \r\n', 60_000_000);
      },
    ],
    ['60 MB with an error at the end', text(200, `{"replicas":["${'é'.repeat(30_000_000)}"`)],
  ])('registry: %s', async (_what, respond) => {
    const { code, stderr, peakMb } = await runMeasured(['registry', '--server', await startHostileServer(respond)]);
    expect({ code, stderr }).toEqual({ code: 4, stderr: expect.stringMatching(/^anyserve: [^\n]+\n$/) });
    expect(peakMb).toBeLessThan(FOR_LISTS_MB);
  });

  it.each<[string, string]>([
    ['a line without an end', 'data: '],
    ['comments', ': nothing to say\n\n'],
    ['data without the end of an event', 'data: x\n'],
    ['events with unknown names', 'data: {"status":"registered"}\n\n'],
  ])('register: an endless stream of %s', async (_what, piece) => {
    const server = await startHostileServer((_request, response) =>
      flood(response.writeHead(200, { 'content-type': 'text/event-stream' }), piece),
    );
    const registering = ['register', '--id', 'r1', '--endpoint', 'localhost:1', '--cap', 'a=b', '--server', server];
    const { stdout, stderr, peakMb } = await runMeasured(registering, { stopAfterMs: 4000 });
    expect(peakMb).toBeLessThan(FOR_STREAMS_MB);
    expect((stdout + stderr).length).toBeLessThan(10_000);
  });
});
