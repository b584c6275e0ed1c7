import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions } from '../../src/client/client-options.js';
import { createGrpcProbe } from '../../src/client/grpc-probe.js';
import { parseDialable } from '../../src/core/endpoint.js';
import type { ClientTls, ServerTls } from '../../src/core/tls.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer } from '../support/api-server.js';
import { createAuthority } from '../support/certificates.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const authority = createAuthority();
const otherAuthority = createAuthority('other');
const ca = authority.cert;
const good = authority.sign('worker');
const mine = authority.sign('client');
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function secureWorker(tls: ServerTls | (() => ServerTls), servers: string[] = []): Promise<string> {
  const app = new App().capability({ type: 'one' }, () => ({ n: [1] }));
  const worker = await startTestWorker(app, { servers, tls: typeof tls === 'function' ? tls : () => tls });
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

function clientOf(options: ClientOptions): InferenceClient {
  const client = new InferenceClient(options, { clock, random });
  cleanups.push(() => client.close());
  return client;
}

/** What an inference fails with; `none` when it does not. */
const failure = (client: InferenceClient): Promise<string> =>
  client.infer('one', {}).then(
    () => 'none',
    (error) => error.message,
  );

describe('a worker over TLS', () => {
  it('is called by address and by name, whole and in parts', async () => {
    const endpoint = await secureWorker(good);
    for (const at of [endpoint, endpoint.replace('127.0.0.1', 'localhost')]) {
      const client = clientOf({ endpoint: at, tls: { ca } });
      await client.infer('one', {});
      let parts = 0;
      for await (const _part of client.inferStream('one', {})) parts++;
      expect(parts).toBe(1);
    }
  });

  it('is found by asking an API server', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    await secureWorker(good, [server.url]);
    await until('it is registered', () => server.registry.replicas().length === 1);
    const client = clientOf({ server: server.url, capability: { type: 'one' }, tls: { ca } });
    expect(await failure(client)).toBe('none');
  });

  it.each([
    ['of no trusted authority', () => good, {}, /not signed by a trusted authority; give the authority with --tls-ca/],
    ['of another authority', () => good, { ca: otherAuthority.cert }, /not signed by a trusted authority/],
    [
      'that has expired',
      () => authority.sign('expired', { between: ['20200101000000Z', '20200102000000Z'] }),
      { ca },
      /: its certificate has expired/,
    ],
    [
      'for another name',
      () => authority.sign('misnamed', { names: 'DNS:elsewhere.test,DNS:address.invalid' }),
      { ca },
      /: its certificate is for another name \(IP: 127\.0\.0\.1 is not in the cert's list\)$/,
    ],
    ['that is self-signed', () => otherAuthority, { ca }, /not signed by a trusted authority/],
  ])('with a certificate %s is not called', async (_what, certificate, tls, message) => {
    const endpoint = await secureWorker(certificate());
    expect(await failure(clientOf({ endpoint, tls }))).toMatch(message);
  });

  it('asks for the certificate of a caller when it has an authority for it', async () => {
    const endpoint = await secureWorker({ ...good, ca });
    expect(await failure(clientOf({ endpoint, tls: { ca, cert: mine.cert, key: mine.key } }))).toBe('none');
    expect(await failure(clientOf({ endpoint, tls: { ca } }))).toMatch(/it requires a client certificate; give one/);
    const strange = otherAuthority.sign('stranger');
    expect(await failure(clientOf({ endpoint, tls: { ca, cert: strange.cert, key: strange.key } }))).toMatch(
      /does it accept the certificate of --tls-cert\?/,
    );
  });

  it('takes up another certificate, for connections that come after it', async () => {
    let tls: ServerTls = good;
    const endpoint = await secureWorker(() => tls);
    const kept = clientOf({ endpoint, tls: { ca } });
    expect(await failure(kept)).toBe('none');
    tls = otherAuthority.sign('worker');
    await until(
      'new callers see the new one',
      async () => (await failure(clientOf({ endpoint, tls: { ca: otherAuthority.cert } }))) === 'none',
    );
    expect(await failure(kept)).toBe('none');
    expect(await failure(clientOf({ endpoint, tls: { ca } }))).toMatch(/not signed by a trusted authority/);
  });

  it('is called with another certificate when the caller has another', async () => {
    const endpoint = await secureWorker({ ...good, ca });
    let tls = { ca, cert: mine.cert, key: mine.key };
    const client = clientOf({ endpoint, tls: () => tls });
    expect(await failure(client)).toBe('none');
    const strange = otherAuthority.sign('stranger');
    tls = { ca, cert: strange.cert, key: strange.key };
    expect(await failure(client)).toMatch(/does it accept the certificate/);
    tls = { ca, cert: mine.cert, key: mine.key };
    expect(await failure(client)).toBe('none');
  });

  it('says so to callers in plain text, and outlives those that say nothing', async () => {
    const endpoint = await secureWorker(good);
    const silent = connect(Number(endpoint.split(':')[1]), '127.0.0.1');
    cleanups.push(() => silent.destroy());
    expect(await failure(clientOf({ endpoint }))).toMatch(/does it use TLS\?/);
    expect(await failure(clientOf({ endpoint, tls: { ca } }))).toBe('none');
  });
});

describe('a worker in plain text', () => {
  it('is found out by callers over TLS, and called by those that are told', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'one' }, () => ({ n: [1] })));
    cleanups.push(() => worker.stop());
    const { endpoint } = worker.replica;
    expect(await failure(clientOf({ endpoint, tls: { ca } }))).toMatch(/: it does not use TLS/);
    expect(await failure(clientOf({ endpoint, callTls: true }))).toMatch(/: it does not use TLS/);
    expect(await failure(clientOf({ endpoint, tls: { ca }, callTls: false }))).toBe('none');
  });
});

describe('a probe over TLS', () => {
  const look = (endpoint: string, tls: ClientTls): Promise<string> =>
    createGrpcProbe(parseDialable(endpoint), { tls: () => tls })(new AbortController().signal).then(
      () => 'healthy',
      (error) => `${error.code} ${error.message}`,
    );

  it('finds a worker healthy, by address and by name, and says what is wrong with its certificate', async () => {
    const endpoint = await secureWorker(good);
    expect(await look(endpoint, { ca })).toBe('healthy');
    expect(await look(endpoint.replace('127.0.0.1', 'localhost'), { ca })).toBe('healthy');
    expect(await look(endpoint, {})).toMatch(/^unknown .*not signed by a trusted authority/);
    const misnamed = await secureWorker(authority.sign('misnamed', { names: 'DNS:elsewhere.test' }));
    expect(await look(misnamed, { ca })).toMatch(/^unknown .*for another name \(IP: 127\.0\.0\.1 is not/);
  });

  it('shows its own certificate to a worker that asks for one', async () => {
    const endpoint = await secureWorker({ ...good, ca });
    expect(await look(endpoint, { ca, cert: mine.cert, key: mine.key })).toBe('healthy');
    expect(await look(endpoint, { ca })).toMatch(/requires a client certificate|connection was closed|socket hang up/);
  });

  it('finds out plain text', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'one' }, () => ({ n: [1] })));
    cleanups.push(() => worker.stop());
    expect(await look(worker.replica.endpoint, { ca })).toMatch(/^unknown .*: it does not use TLS$/);
  });
});
