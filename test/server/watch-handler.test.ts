import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Request, Response } from 'express';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Readiness } from '../../src/server/readiness.js';
import { createWatchHandler } from '../../src/server/watch-handler.js';
import type { WatchHub } from '../../src/server/watch-hub.js';

let server: Server;
let reasons: Record<string, string | undefined>;
let hasRoom: boolean;

beforeEach(async () => {
  reasons = {};
  hasRoom = true;
  const checks = ['open_files', 'first_list'].map((name) => ({ name, getReason: () => reasons[name] }));
  const readiness = new Readiness(checks);
  readiness.markServing();
  const watches = {
    get hasRoom() {
      return hasRoom;
    },
    watch: (query: readonly string[], _lastEvent: unknown, response: Response) => response.end(query.join(' ')),
  };
  const streams = { open: () => expect.unreachable() };
  const handle = createWatchHandler({ watches: watches as unknown as WatchHub, streams, readiness });
  server = createServer((request, response) => void handle(request as Request, response as Response, () => {}));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function ask(): Promise<[status: number, retryAfter: string | null, body: string]> {
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/watch?type=chat&n=1`);
  return [response.status, response.headers.get('retry-after'), await response.text()];
}

it('accepts a watch while the first complete list is missing', async () => {
  reasons = { first_list: 'the first complete list of registrations has not arrived' };
  expect(await ask()).toEqual([200, null, 'type chat n 1']);
});

it('refuses a watch near the limit of open files', async () => {
  reasons = { open_files: '250 of 256 file descriptors are in use' };
  const detail = `this API server can't be watched: ${reasons['open_files']}`;
  expect(await ask()).toEqual([503, '5', JSON.stringify({ detail })]);
});

it('refuses a watch when there are too many', async () => {
  hasRoom = false;
  expect(await ask()).toMatchObject([503, '5', expect.stringContaining('too many clients watch this API server')]);
});
