import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { CapabilityFilter } from '../../src/core/selector.js';
import { Readiness } from '../../src/server/readiness.js';
import type { WatchedRegistry } from '../../src/server/watch-feeds.js';
import { createWatchHandler, createWatchLimit } from '../../src/server/watch-handler.js';
import type { WatchHub } from '../../src/server/watch-hub.js';
import { RecordedResponse } from '../support/recorded-response.js';

let server: Server;
let handle: RequestHandler;
let reasons: Record<string, string | undefined>;
let endings: (() => void)[];

beforeEach(async () => {
  reasons = {};
  endings = [];
  const checks = ['open_files', 'first_list'].map((name) => ({ name, getReason: () => reasons[name] }));
  const readiness = new Readiness(checks);
  readiness.markServing();
  const watches = {
    watch: (_registry: unknown, { query }: CapabilityFilter, _lastEvent: unknown, response: Response) => {
      response.end(query.join(' '));
      return { onClosed: (listener: () => void) => void endings.push(listener) };
    },
  };
  const streams = { open: () => expect.unreachable() };
  const registry = {} as WatchedRegistry;
  const watchLimit = createWatchLimit(undefined);
  handle = createWatchHandler({ registry, watches: watches as unknown as WatchHub, streams, readiness, watchLimit });
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

it('refuses the 5,001st watch of an address, and the 10,001st of all, until one ends', () => {
  const open = (
    remoteAddress: string,
  ): [status: number, retryAfter?: string | undefined, body?: string | undefined] => {
    const request = { method: 'GET', url: '/watch', headers: {}, rawHeaders: [], socket: { remoteAddress } };
    const sent = new RecordedResponse();
    handle(request as unknown as Request, sent.response, () => {});
    const { status = 200, headers, body } = sent;
    return status === 200 ? [status] : [status, headers[headers.indexOf('retry-after') + 1], body];
  };
  const hasMaximum = (host: string) => JSON.stringify({ detail: `${host} has 5000 watches, the maximum for one host` });
  for (let n = 0; n < 5000; n++) expect(open('::ffff:10.0.0.1')).toEqual([200]);
  expect(open('10.0.0.1')).toEqual([429, '5', hasMaximum('10.0.0.1')]);
  for (let n = 0; n < 5000; n++) expect(open('2001:db8::1')).toEqual([200]);
  expect(open('2001:db8::1')).toEqual([429, '5', hasMaximum('2001:db8::1')]);
  expect(open('10.0.0.2')).toEqual([503, '5', expect.stringContaining('too many clients watch this API server')]);
  endings[0]?.();
  expect(open('10.0.0.2')).toEqual([200]);
  expect(open('10.0.0.1')[0]).toBe(503);
});
