import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { TokenSet } from '../../src/credentials/token-set.js';
import type { ApiServerOptions } from '../../src/server/api-server.js';
import {
  formatRegistrationBody,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';

let server: TestApiServer;

afterEach(() => server.close());

/** Starts a server without additional allowed hosts. Default: on loopback. */
async function start(options: Partial<ApiServerOptions> = {}): Promise<void> {
  server = await startTestApiServer({ allowedHosts: [], ...options });
}

/** Sends a request with these header lines. Returns the status and body of the response. */
async function ask(line: string, headers: readonly string[], body = ''): Promise<{ status: number; body: string }> {
  const lines = [line, ...headers, 'Connection: close', `Content-Length: ${Buffer.byteLength(body)}`, '', body];
  const { socket, received } = openRawConnection(server.port, lines.join('\r\n'));
  while (!received().includes('\r\n\r\n')) await once(socket, 'data');
  // A lease stays open.
  if (!received().includes('text/event-stream')) {
    if (!socket.readableEnded) await once(socket, 'end');
  }
  socket.destroy();
  const [head = '', response = ''] = received().split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), body: response };
}

const fetchStatus = async (host: string): Promise<number> =>
  (await ask('GET /registry HTTP/1.1', [`Host: ${host}`])).status;

describe('a server on loopback', () => {
  it.each([
    'localhost',
    'LocalHost',
    'localhost.',
    'localhost:8080',
    'localhost:',
    'app.localhost:1',
    '127.0.0.1:8080',
    '10.0.0.1',
    '127.1',
    '[::1]:8080',
    '[::1]',
    '[::ffff:127.0.0.1]:8080',
    '[fe80::1%eth0]',
    'printer.local',
    'host.docker.internal:8080',
    'machine.test:8080',
    'MACHINE.test.',
    'machine',
    '',
  ])('accepts the host %j', async (host) => {
    await start();
    expect(await fetchStatus(host)).toBe(200);
  });

  it.each([
    'evil.example',
    'evil.example:8080',
    'evil.example.',
    'api:8080',
    'gpu7.lan',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.0.0.1.nip.io',
    'xlocalhost',
    'local',
    'internal',
    '.local',
    'evillocal',
    'evil.example#.local',
    'evil.example/.local',
    'evil.example@localhost',
    'localhost@evil.example',
    'localhost, evil.example',
    'localhost evil.example',
    'localhost:80:80',
    'localhost:99999',
    'localhost:port',
    'localhost..',
    '::1',
    '[::1',
    '[evil.example]',
    'a'.repeat(8000),
  ])('refuses the host %s', async (host) => {
    await start();
    expect(await fetchStatus(host)).toBe(421);
    // The cached verdict is the same.
    expect(await fetchStatus(host)).toBe(421);
  });

  it('names the host and the option in its response', async () => {
    await start();
    expect(await ask('GET /route HTTP/1.1', ['Host: Evil.example:8080'])).toEqual({
      status: 421,
      body: JSON.stringify({
        detail:
          'the host "Evil.example:8080" is not allowed; to allow it, start the server with --allowed-host evil.example',
      }),
    });
  });

  it('accepts allowed hosts with any port and in any case', async () => {
    await start({ allowedHosts: ['api', 'GPU7.lan:8080'] });
    expect(await Promise.all(['api:8080', 'API', 'api.', 'gpu7.lan', 'gpu7.lan:9'].map(fetchStatus))).toEqual(
      Array(5).fill(200),
    );
    expect(await Promise.all(['api.evil.example', 'xapi', 'gpu7', 'lan'].map(fetchStatus))).toEqual(Array(4).fill(421));
  });

  it('rejects an invalid allowed host at start', async () => {
    await expect(start({ allowedHosts: ['http://api'] })).rejects.toThrow(
      '--allowed-host "http://api" is not a host name',
    );
    await start();
  });

  it.each(['/livez', '/readyz', '/health'])('accepts any host for %s', async (path) => {
    await start();
    expect((await ask(`GET ${path} HTTP/1.1`, ['Host: 10-0-0-1.probe.example'])).status).toBe(200);
  });

  it.each([
    'GET /route',
    'GET /registry',
    'GET /replicas',
    'HEAD /registry',
    'POST /register',
    'PUT /leases/x',
    'DELETE /leases/x',
  ])('checks the host of %s', async (line) => {
    await start();
    expect((await ask(`${line} HTTP/1.1`, ['Host: evil.example'])).status).toBe(421);
  });

  it('checks the host of an absolute request target as well as the header', async () => {
    await start();
    const formatTarget = (url: string, host: string) => ask(`GET ${url} HTTP/1.1`, [`Host: ${host}`]);
    expect((await formatTarget('http://localhost:1/registry', 'localhost')).status).toBe(200);
    expect((await formatTarget('http://evil.example/registry', 'localhost')).status).toBe(421);
    expect((await formatTarget('http://evil.example/route', 'localhost')).status).toBe(421);
    expect((await formatTarget('ftp://evil.example/registry', 'localhost')).status).toBe(421);
    expect((await formatTarget('http://a@evil.example/registry', 'localhost')).status).not.toBe(200);
    expect((await formatTarget('http://localhost/registry', 'evil.example')).status).toBe(421);
  });

  it('accepts HTTP/1.0 without a host', async () => {
    await start();
    expect((await ask('GET /registry HTTP/1.0', [])).status).toBe(200);
    expect((await ask('GET /registry HTTP/1.0', ['Host: evil.example'])).status).toBe(421);
  });

  it.each(['/route', '/registry', '/health', '/nowhere'])('refuses two Host headers for %s', async (path) => {
    await start({ tokens: { read: () => new TokenSet(['t']) } });
    for (const second of ['localhost', 'evil.example']) {
      const headers = ['Host: localhost', `host: ${second}`, 'Authorization: Bearer t'];
      expect((await ask(`GET ${path} HTTP/1.1`, headers)).status).toBe(400);
    }
  });

  it('does not check requests that need a token', async () => {
    await start({ tokens: { register: () => new TokenSet(['t']), read: () => new TokenSet(['t']) } });
    expect((await ask('GET /registry HTTP/1.1', ['Host: gpu7.lan', 'Authorization: Bearer t'])).status).toBe(200);
    expect(await fetchStatus('gpu7.lan')).toBe(401);
  });

  it('checks requests without a token where only others need one', async () => {
    await start({ tokens: { register: () => new TokenSet(['t']) } });
    expect((await ask('GET /registry HTTP/1.1', ['Host: evil.example', 'Authorization: Bearer t'])).status).toBe(421);
  });

  it('is recognized when it listens on the name localhost', async () => {
    await start({ host: 'localhost' });
    expect(await fetchStatus('evil.example')).toBe(421);
  });
});

describe('a server that other machines reach', () => {
  it.each(['api:8080', 'gpu7.lan', 'evil.example'])('accepts clients that use the name %s', async (host) => {
    await start({ host: '0.0.0.0' });
    expect(await fetchStatus(host)).toBe(200);
    expect((await ask('POST /register HTTP/1.1', [`Host: ${host}`], formatRegistrationBody('r1'))).status).toBe(200);
  });

  it.each([
    ['evil.example', 'http://evil.example', 421],
    ['10.0.0.1:8080', 'http://evil.example', 421],
    ['10.0.0.1:8080', 'null', 421],
    ['10.0.0.1:8080', 'file://', 421],
    ['10.0.0.1:8080', 'chrome-extension://localhost', 421],
    ['10.0.0.1:8080', 'http://10.0.0.1:8080, http://10.0.0.1:8080', 421],
    ['evil.example', 'http://10.0.0.1:8080', 421],
    ['10.0.0.1:8080', 'http://10.0.0.1:8080', 200],
    ['gpu7.local', 'http://GPU7.local.:3000', 200],
    ['dash.example', 'https://dash.example', 200],
  ])('responds to a web page: host %s, origin %s gives %i', async (host, origin, expected) => {
    await start({ host: '0.0.0.0', allowedHosts: ['dash.example'] });
    const response = await ask('GET /registry HTTP/1.1', [`Host: ${host}`, `Origin: ${origin}`]);
    expect(response.status).toBe(expected);
    if (expected === 421) expect(response.body).toContain('--allowed-host');
  });

  it.each([
    ['10.0.0.1:8080', 'http://10.0.0.1:8080', 200],
    ['10.0.0.1', 'http://10.0.0.1:80', 200],
    ['10.0.0.1:443', 'https://10.0.0.1', 200],
    ['GPU7.local.', 'http://gpu7.local', 200],
    ['10.0.0.1:8080', 'http://10.0.0.1:8081', 403],
    ['10.0.0.1:8080', 'http://203.0.113.1:8080', 403],
    ['evil.example:8080', 'http://evil.example:8080', 421],
  ])('accepts registrations only from its own pages: host %s, origin %s gives %i', async (host, origin, expected) => {
    await start({ host: '0.0.0.0' });
    const headers = [`Host: ${host}`, `Origin: ${origin}`];
    expect((await ask('POST /register HTTP/1.1', headers, formatRegistrationBody('r1'))).status).toBe(expected);
  });
});
