import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { toUnexpectedResponseError } from '../../src/client/api-failure.js';
import { createReplicaId } from '../../src/core/ids.js';
import { createApiClient, toServer } from '../support/api-client.js';
import { query, replica } from '../support/replicas.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts a server that is not an API server, on a free port. */
async function startForeignServer(listener: RequestListener, host: string): Promise<number> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe('another program at the address of an API server', () => {
  it.each<[string, number, Record<string, string>, string]>([
    ['a login page', 401, { 'www-authenticate': 'Basic realm="x"' }, '<html>login</html>'],
    [
      'a FastAPI program that requires a token',
      401,
      { 'www-authenticate': 'Bearer' },
      '{"detail":"Not authenticated"}',
    ],
    ['a program that responds with 403', 403, {}, '{"detail":"Forbidden"}'],
    ['a program without this path', 404, {}, '{"detail":"Not Found"}'],
    ['a web page', 200, { 'content-type': 'text/html' }, '<html>'],
  ])('is reported with its address, and without a request for a token: %s', async (_what, status, headers, body) => {
    const port = await startForeignServer(
      (_request, response) => response.writeHead(status, headers).end(body),
      '127.0.0.1',
    );
    const url = `http://127.0.0.1:${port}`;
    const api = createApiClient(url);
    cleanups.push(() => api.close());
    const expected = {
      code: 'not_an_api_server',
      message: `${url} is not an AnyServe API server (HTTP ${status} from 127.0.0.1:${port}); check the URL`,
    };
    const { signal } = new AbortController();
    await expect(api.route(query())).rejects.toMatchObject(expected);
    await expect(api.listReplicas()).rejects.toMatchObject(expected);
    await expect(api.leases.open(toServer(url), replica('r1', {}), { ttlMs: 9000 }, signal)).rejects.toMatchObject(
      expected,
    );
  });

  it('is reported with the address that localhost resolved to, and with the address to use instead', () => {
    const response = { status: 401, headers: {}, peer: '[::1]:8080' };
    expect(toUnexpectedResponseError(toServer('http://localhost:8080'), response, '')).toMatchObject({
      code: 'not_an_api_server',
      message:
        'http://localhost:8080 is not an AnyServe API server (HTTP 401 from [::1]:8080); check the URL, or use http://127.0.0.1:8080',
    });
  });
});

describe('the default replica id', () => {
  it('is readable, and differs between processes', () => {
    expect(createReplicaId({ hostName: 'gpu7', instance: 'a1b2c3' }, 50051)).toBe('gpu7-50051-a1b2c3');
    expect(createReplicaId({ hostName: 'x'.repeat(300), instance: 'a1b2c3' }, 1)).toHaveLength(64 + 1 + 1 + 1 + 6);
  });
});
