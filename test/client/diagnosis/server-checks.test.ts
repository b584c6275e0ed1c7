import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from '../../../src/client/api-client.js';
import type { CheckResult } from '../../../src/client/diagnosis/machine-checks.js';
import { checkServer } from '../../../src/client/diagnosis/server-checks.js';
import { TokenSet } from '../../../src/credentials/token-set.js';
import { clock } from '../../../src/system.js';
import { startTestApiServer } from '../../support/api-server.js';
import { createAuthority } from '../../support/certificates.js';

const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** Starts a server, with TLS if a certificate is given. Returns its URL. */
async function startServer(handle: RequestListener, tls?: { readonly cert: string; readonly key: string }) {
  const server = tls ? createTlsServer(tls, handle) : createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close().closeAllConnections());
  return `${tls ? 'https' : 'http'}://localhost:${(server.address() as AddressInfo).port}`;
}

/** Checks a server. Returns `check status: detail` lines. */
async function check(url: string, ca?: string, token?: string): Promise<string[]> {
  const tls = ca === undefined ? undefined : () => ({ ca });
  const api = new ApiClient({ servers: [url], clock, tls, token: () => token });
  closers.push(() => api.close());
  const results: CheckResult[] = [];
  const [server] = await api.servers.get();
  if (!server) throw new Error('no server');
  for await (const result of checkServer(server, { api, tls, clock, signal: new AbortController().signal })) {
    expect(result.target).toBe(url);
    results.push(result);
  }
  return results.map(({ check, status, detail }) => `${check} ${status}: ${detail.replace(/\d+ ms/, 'N ms')}`);
}

/** Answers as an API server without replicas does, except for some paths. */
function answer(special: Readonly<Record<string, RequestListener>> = {}): RequestListener {
  const usual: Readonly<Record<string, string>> = {
    '/health': '{"status":"healthy"}',
    '/readyz': '{"status":"ready"}',
    '/replicas': '{"now":1,"replicas":[]}',
  };
  return (request, response) => {
    const handle = special[request.url ?? ''];
    if (handle) return handle(request, response);
    response.end(usual[request.url ?? '']);
  };
}

describe('checkServer', () => {
  it('yields a line for each property of a server that works', async () => {
    expect(await check(await startServer(answer()))).toEqual([
      'connection ok: responds in N ms',
      'clock ok: differs by at most 2 s',
      'readiness ok: ready',
      'access ok: lists 0 replicas',
    ]);
  });

  it('yields only the reason for a server that cannot be reached', async () => {
    expect(await check('http://localhost:1')).toEqual([
      'connection failed: nothing listens there; is "anyserve serve" running?',
    ]);
  });

  it('reports a clock that is an hour ahead', async () => {
    const ahead = answer({
      '/health': (_request, response) => {
        response.setHeader('date', new Date(Date.now() + 3_600_000).toUTCString()).end('{"status":"healthy"}');
      },
    });
    const lines = await check(await startServer(ahead));
    expect(lines[1]).toMatch(/^clock warning: its clock is (3600|3599) s ahead of this machine's; synchronize both/);
  });

  it('reports a certificate that expires within two weeks, and one that is not trusted', async () => {
    const authority = createAuthority();
    const url = await startServer(answer(), authority.sign('server'));
    const lines = await check(url, authority.cert);
    expect(lines[1]).toMatch(/^certificate warning: valid until .* GMT; renew it$/);
    expect(await check(url, createAuthority().cert)).toEqual([
      expect.stringMatching(/^connection failed: its certificate is not signed by a trusted authority/),
    ]);
  });

  it('reports a refused token, an unready server and a degraded one', async () => {
    const refusing = answer({
      '/replicas': (_request, response) => {
        response.writeHead(401, { 'x-anyserve-refusal': 'token' }).end('{"detail":"unknown token"}');
      },
      '/readyz': (_request, response) => {
        response.writeHead(503).end('{"status":"unready","reasons":["draining"]}');
      },
    });
    const lines = await check(await startServer(refusing));
    expect(lines[2]).toBe('readiness failed: unready; draining');
    expect(lines[3]).toMatch(/^access failed: .*HTTP 401/);
    const degraded = answer({
      '/readyz': (_request, response) => void response.end('{"status":"degraded","reasons":["etcd is gone"]}'),
    });
    expect((await check(await startServer(degraded)))[2]).toBe('readiness warning: degraded; etcd is gone');
  });

  it.each([
    ['register-1', 'token ok: can register replicas'],
    ['read-1', 'token ok: can read, but not register replicas'],
    ['wrong', 'unknown token'],
  ])('checks the token %s at a server that needs one', async (token, expected) => {
    const tokens = { register: () => new TokenSet(['register-1'], 'a'), read: () => new TokenSet(['read-1'], 'b') };
    const server = await startTestApiServer({ tokens });
    closers.push(() => server.close());
    const lines = await check(server.url, undefined, token);
    expect(lines.filter((line) => /^token|^access failed/.test(line))).toEqual([expect.stringContaining(expected)]);
  });

  it('reports a wrong token also if everyone can read', async () => {
    const server = await startTestApiServer({ tokens: { register: () => new TokenSet(['register-1'], 'a') } });
    closers.push(() => server.close());
    expect(await check(server.url, undefined, 'wrong')).toContain('token failed: the server does not know this token');
    expect((await check(server.url)).filter((line) => line.startsWith('token'))).toEqual([]);
  });

  it('accepts a server that has no readiness, such as the Python server', async () => {
    const python = answer({
      '/readyz': (_request, response) => void response.writeHead(404).end('{"detail":"Not Found"}'),
    });
    expect((await check(await startServer(python)))[2]).toBe('readiness ok: the server does not report it');
  });
});
