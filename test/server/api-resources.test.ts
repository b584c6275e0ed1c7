import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { until } from '../support/until.js';

let server: TestApiServer;

beforeEach(async () => {
  server = await startTestApiServer();
});

afterEach(() => server.close());

/** Returns the responses to two pipelined requests. For a hot resource, the first bypasses express, and the second does not. */
async function pipelineTwo(request: string): Promise<string[]> {
  const connection = openRawConnection(server.port, `${request}${request}`);
  const splitResponses = (): string[] => connection.received().split(/(?=HTTP\/1\.1 )/);
  const isComplete = (text: string): boolean => /\r\n\r\n/.test(text) && text.endsWith('}');
  const hasBody = !request.startsWith('HEAD');
  await until('two responses', () => splitResponses().filter((text) => !hasBody || isComplete(text)).length === 2);
  connection.socket.destroy();
  return splitResponses().map((text) => text.replace(/Date: [^\r]+/, 'Date: now'));
}

it.each([
  ['GET', '/route', 404],
  ['GET', '/route?model=x', 404],
  ['HEAD', '/route?model=x', 404],
  ['GET', 'http://x/route?model=x', 404],
  ['POST', '/route', 405],
  ['PUT', '/leases/some-lease', 404],
  ['DELETE', '/leases/some-lease?x', 404],
  ['DELETE', '/leases/%zz', 404],
  ['GET', '/leases/some-lease', 405],
  ['DELETE', '/leases/a/b', 404],
  ['GET', '/leases', 404],
])('%s %s has the same response with and without express', async (method, target, status) => {
  const request = `${method} ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`;
  const [first, second] = await pipelineTwo(request);
  expect(first).toMatch(`HTTP/1.1 ${status} `);
  expect(second).toBe(first);
});

it.each([
  ['/route', 'GET'],
  ['/leases/some-lease', 'PUT, DELETE'],
  ['/register', 'POST'],
  ['/registry', 'GET'],
  ['/replicas', 'GET'],
  ['/events', 'GET'],
  ['/explain', 'GET'],
  ['/health', 'GET'],
  ['/livez', 'GET'],
  ['/readyz', 'GET'],
])('%s allows %s, and says so', async (path, allow) => {
  const response = await fetch(`${server.url}${path}`, { method: 'PATCH' });
  expect([response.status, response.headers.get('allow')]).toEqual([405, allow]);
});
