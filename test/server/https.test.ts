import { connect as connectTcp } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { ApiClient } from '../../src/client/api-client.js';
import type { ClientTls, ServerTls } from '../../src/core/tls.js';
import { createApiClient, toServer } from '../support/api-client.js';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { createAuthority } from '../support/certificates.js';
import { replica } from '../support/replicas.js';
import { until } from '../support/until.js';

const authority = createAuthority();
const otherAuthority = createAuthority('other');
const ca = authority.cert;
const good = authority.sign('server');
const mine = authority.sign('client');
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startSecureServer(tls: ServerTls | (() => ServerTls)): Promise<TestApiServer> {
  const server = await startTestApiServer({ tls: typeof tls === 'function' ? tls : () => tls });
  cleanups.push(() => server.close());
  return server;
}

function createClient(url: string, tls: ClientTls): ApiClient {
  const api = createApiClient(url, { tls: () => tls });
  cleanups.push(() => api.close());
  return api;
}

const getFailure = (api: ApiClient): Promise<unknown> =>
  api.listReplicas().then(
    () => 'none',
    (error) => error.message.replace(/^cannot reach the API server \S+: /, ''),
  );

describe('an API server over TLS', () => {
  it('grants leases, and ends them with their connections', async () => {
    const server = await startSecureServer(good);
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const api = createClient(server.url, { ca });
    for (const end of ['end', 'destroy'] as const) {
      const { body } = await api.leases.open(
        toServer(server.url),
        replica('r1', {}),
        { ttlMs: 9000 },
        new AbortController().signal,
      );
      body.resume();
      await until('it is registered', () => server.registry.replicas().length === 1);
      if (end === 'destroy') body.destroy();
      else (body as unknown as { socket: { end(): void } }).socket.end();
      await until('it is gone', () => server.registry.replicas().length === 0, 1000);
    }
  });

  it.each([
    ['other requests follow', '', 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000)],
    ['other requests precede', 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000), ''],
  ])('ends a lease when %s it in one packet', async (_what, before, behind) => {
    const server = await startSecureServer(good);
    const registering = formatRegisterRequest(formatRegistrationBody('r1'));
    const socket = connect({ port: server.port, host: '127.0.0.1', ca }, () =>
      socket.write(`${before}${registering}${behind}`),
    );
    let received = '';
    socket.setEncoding('utf8').on('data', (text) => {
      received += text;
    });
    await until('it is registered', () => received.includes('"registered"'));
    expect(received.split('HTTP/1.1 200')).toHaveLength(before === '' ? 2 : 1002);
    socket.destroy();
    await until('it is gone', () => server.registry.replicas().length === 0, 1000);
  });

  it('redirects without a scheme, because a proxy can have changed it', async () => {
    const server = await startSecureServer(good);
    const response = await new Promise<string>((resolve) => {
      const socket = connect({ port: server.port, host: '127.0.0.1', ca }, () =>
        socket.end(`GET /registry/ HTTP/1.1\r\nHost: localhost:${server.port}\r\nConnection: close\r\n\r\n`),
      );
      socket.setEncoding('utf8').on('data', resolve);
    });
    expect(response).toContain(`location: /registry\r\n`);
  });

  it.each([
    ['of no trusted authority', () => good, {}, /not signed by a trusted authority; give the authority with --tls-ca/],
    ['of another authority', () => good, { ca: otherAuthority.cert }, /not signed by a trusted authority/],
    ['that has expired', signExpired, { ca }, /^its certificate has expired/],
    ['that is not valid yet', signFuture, { ca }, /^its certificate is not valid yet/],
    [
      'for another name',
      signMisnamed,
      { ca },
      /^its certificate is for another name \(IP: 127.0.0.1 is not in the cert's list\)$/,
    ],
    ['that is self-signed', () => otherAuthority, { ca }, /not signed by a trusted authority/],
  ])('is refused by clients if it has a certificate %s', async (_what, certificate, tls, message) => {
    const server = await startSecureServer(certificate());
    expect(await getFailure(createClient(server.url, tls))).toMatch(message);
  });

  it('requires a client certificate if it has a CA for them', async () => {
    const server = await startSecureServer({ ...good, ca });
    expect(await getFailure(createClient(server.url, { ca, cert: mine.cert, key: mine.key }))).toBe('none');
    expect(await getFailure(createClient(server.url, { ca }))).toMatch(/requires? a client certificate.*--tls-cert/);
    const strange = otherAuthority.sign('stranger');
    expect(await getFailure(createClient(server.url, { ca, cert: strange.cert, key: strange.key }))).toMatch(
      /does not accept the certificate of --tls-cert|closed the connection without a response/,
    );
    const { cert, key } = signExpired();
    expect(await getFailure(createClient(server.url, { ca, cert, key }))).toMatch(
      /does not accept the certificate of --tls-cert|closed the connection without a response/,
    );
    expect(server.log.lines).toEqual([]);
  });

  it('uses a changed certificate for new connections', async () => {
    let tls: ServerTls = good;
    const server = await startSecureServer(() => tls);
    const kept = createClient(server.url, { ca });
    expect(await getFailure(kept)).toBe('none');
    tls = otherAuthority.sign('server');
    await until('new callers see the new one', async () => {
      const api = createClient(server.url, { ca: otherAuthority.cert });
      return (await getFailure(api)) === 'none';
    });
    expect(await getFailure(kept)).toBe('none');
    expect(await getFailure(createClient(server.url, { ca }))).toMatch(/not signed by a trusted authority/);
  });

  it('survives clients without TLS, with an old TLS version, or without any data', async () => {
    const server = await startSecureServer(good);
    const plain = openRawConnection(server.port, 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is closed', () => plain.socket.closed || plain.socket.readableEnded);
    expect(plain.received()).not.toContain('HTTP/1.1');
    const old = await new Promise<string>((resolve) => {
      const options = { port: server.port, host: '127.0.0.1', ca, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } as const;
      connect({ ...options, ciphers: 'DEFAULT@SECLEVEL=0' }, () => resolve('connected')).once('error', ({ message }) =>
        resolve(message),
      );
    });
    expect(old).toMatch(/protocol version|unsupported protocol|no protocols available/);
    const silent = connectTcp(server.port, '127.0.0.1');
    cleanups.push(() => silent.destroy());
    expect(await getFailure(createClient(server.url, { ca }))).toBe('none');
    expect(await getFailure(createClient(server.url.replace('https', 'http'), {}))).toMatch(/does it use https/);
  });

  it('without TLS is recognized when a client uses https', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    expect(await getFailure(createClient(server.url.replace('http', 'https'), { ca }))).toBe('it does not use TLS');
  });
});

function signExpired() {
  return authority.sign('expired', { between: ['20200101000000Z', '20200102000000Z'] });
}

function signFuture() {
  return authority.sign('future', { between: ['20980101000000Z', '20990101000000Z'] });
}

function signMisnamed() {
  return authority.sign('misnamed', { names: 'DNS:elsewhere.test' });
}
