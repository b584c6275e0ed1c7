import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TokenSet } from '../../../src/credentials/token-set.js';
import { DASHBOARD_FILES } from '../../../src/server/dashboard-files.js';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../../support/api-server.js';
import { serializedReplica } from '../../support/replicas.js';
import { until } from '../../support/until.js';

let server: TestApiServer;

beforeEach(async () => {
  server = await startTestApiServer();
});

afterEach(() => server.close());

const get = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${server.url}${path}`, { redirect: 'manual', ...init });

// biome-ignore lint/suspicious/noExplicitAny: each test knows the members
const getJson = async (path: string): Promise<any> => (await get(path)).json();

/** Sends a request byte for byte, and returns the response without its date. */
async function exchange(request: string): Promise<string> {
  const connection = openRawConnection(server.port, `${request}\r\nConnection: close\r\n\r\n`);
  const ended = new Promise((resolve) => connection.socket.once('end', resolve));
  await ended;
  return connection.received().replace(/Date: [^\r]+\r\n/, '');
}

describe('GET /', () => {
  it('sends a browser to the dashboard, by a URL that a proxy with a prefix needs not change', async () => {
    const response = await get('/', { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } });
    expect([response.status, response.headers.get('location')]).toEqual([307, 'ui/']);
  });

  it.each(['GET', 'HEAD', 'POST'])('is the same as any unknown path for %s of other clients', async (method) => {
    const [root, unknown] = await Promise.all(
      ['/', '/unknown'].map((path) => exchange(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*`)),
    );
    expect(root).toMatch('HTTP/1.1 404 Not Found');
    expect(root).toBe(unknown);
    if (method === 'GET') expect(root).toMatch(/\r\n\r\n\{"detail":"Not Found"\}$/);
  });

  it('does not redirect other methods of a browser', async () => {
    expect((await get('/', { method: 'POST', headers: { accept: 'text/html' } })).status).toBe(404);
  });
});

describe('the files of the dashboard', () => {
  it.each(DASHBOARD_FILES)('$path is there, and may not be changed by others', async ({ path, type }) => {
    const response = await get(path);
    expect([response.status, response.headers.get('content-type')]).toEqual([200, type]);
    const policy = response.headers.get('content-security-policy');
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
    expect(policy).not.toMatch(/unsafe|http|\*|data:/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('cache-control')).toBe('no-cache');
  });

  it('refer to no other host', async () => {
    for (const { path } of DASHBOARD_FILES) {
      const text = await (await get(path)).text();
      // Names of XML namespaces are no addresses that anyone requests.
      const hosts = text.replaceAll(/http:\/\/www\.w3\.org\/[\w/]+/g, '').match(/https?:\/\/[\w.-]+/g) ?? [];
      expect(hosts).toEqual([]);
    }
  });

  it('are not sent again to a browser that has them', async () => {
    const etag = (await get('/ui/dashboard.js')).headers.get('etag') as string;
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const response = await get('/ui/dashboard.js', { headers: { 'if-none-match': known } });
      expect([response.status, await response.text(), response.headers.get('etag')]).toEqual([304, '', etag]);
    }
    expect((await get('/ui/dashboard.js', { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
    expect((await get('/ui/dashboard.css')).headers.get('etag')).not.toBe(etag);
  });

  it('have the same headers for HEAD, and no body', async () => {
    const request = (method: string) => `${method} /ui/ HTTP/1.1\r\nHost: localhost`;
    const [head, whole] = await Promise.all([exchange(request('HEAD')), exchange(request('GET'))]);
    expect(whole).toContain('<title>AnyServe</title>');
    expect(head).toBe(whole.slice(0, whole.indexOf('\r\n\r\n') + 4));
  });

  it.each([
    '/ui/../package.json',
    '/ui/..%2fpackage.json',
    '/ui/%2e%2e/%2e%2e/package.json',
    '/ui//etc/passwd',
    '/ui/LICENSES.txt',
    '/ui/index.html',
    '/ui/dashboard.js%00.txt',
    '/UI/',
  ])('are the only ones: %s does not exist', async (path) => {
    expect(await exchange(`GET ${path} HTTP/1.1\r\nHost: localhost`)).toMatch('HTTP/1.1 404 Not Found');
  });

  it('can be requested without their slash', async () => {
    const response = await get('/ui', { headers: { accept: 'text/html' } });
    expect([response.status, response.headers.get('location')]).toEqual([307, 'ui/']);
  });

  it('are not served to a page of another host, which cannot read the data either', async () => {
    expect(await exchange('GET /ui/ HTTP/1.1\r\nHost: evil.example')).toMatch('HTTP/1.1 421 ');
    expect(await exchange('GET /ui/server HTTP/1.1\r\nHost: evil.example')).toMatch('HTTP/1.1 421 ');
  });
});

describe('with tokens', () => {
  beforeEach(async () => {
    await server.close();
    const tokens = new TokenSet(['reader']);
    server = await startTestApiServer({ tokens: { read: () => tokens } });
  });

  it('the page needs no token, and the data does', async () => {
    expect((await get('/ui/')).status).toBe(200);
    const statuses = ['/ui/server', '/watch', '/events?follow=1', '/replicas', '/explain'].map(async (path) => {
      return (await get(path)).status;
    });
    expect(await Promise.all(statuses)).toEqual([401, 401, 401, 401, 401]);
  });

  it('the page is there under any name, as the data is', async () => {
    expect(await exchange('GET /ui/ HTTP/1.1\r\nHost: fleet.example')).toMatch('HTTP/1.1 200 OK');
  });
});

describe('GET /ui/server', () => {
  it('describes the server, and what does not work', async () => {
    await server.close();
    const program = { version: '1.2.3', store: 'memory' };
    server = await startTestApiServer({ program, listDegradations: () => ['etcd is slow'], warmingMs: 60_000 });
    const body = await getJson('/ui/server');
    expect(body).toMatchObject({
      version: '1.2.3',
      store: 'memory',
      registry: server.registry.id,
      warming: true,
      self_preservation: false,
      problems: ['etcd is slow'],
    });
    await until('the clock goes on', async () => (await getJson('/ui/server')).now > body.now);
    expect(body.now - body.started).toBeLessThan(60);
  });
});

describe('GET /replicas', () => {
  it('lists each of several ids once, and none of those that are not registered', async () => {
    for (const id of ['a', 'b', 'c'])
      await server.registry.register(serializedReplica(id, { x: 1 }), { host: 'h' }, () => {});
    const list = async (search: string): Promise<string[]> => {
      const { replicas } = await getJson(`/replicas${search}`);
      return replicas.map(({ replica_id: id }: { readonly replica_id: string }) => id);
    };
    expect(await list('?replica_id=c&replica_id=a&replica_id=gone&replica_id=c')).toEqual(['c', 'a']);
    expect(await list('?replica_id=b')).toEqual(['b']);
    expect(await list('?replica_id=')).toEqual([]);
    expect(await list('')).toEqual(['a', 'b', 'c']);
  });
});
