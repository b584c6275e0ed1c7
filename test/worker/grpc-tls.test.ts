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

async function startSecureWorker(tls: ServerTls | (() => ServerTls), servers: string[] = []): Promise<string> {
  const app = new App().capability({ type: 'one' }, () => ({ n: [1] }));
  const worker = await startTestWorker(app, { servers, tls: typeof tls === 'function' ? tls : () => tls });
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

function createClient(options: ClientOptions): InferenceClient {
  const client = new InferenceClient(options, { clock, random });
  cleanups.push(() => client.close());
  return client;
}

/** Returns the error of an inference, or `none`. */
const getFailure = (client: InferenceClient): Promise<string> =>
  client.infer('one', {}).then(
    () => 'none',
    (error) => error.message,
  );

describe('a worker over TLS', () => {
  it('can be called by address and by name, with unary and streaming calls', async () => {
    const endpoint = await startSecureWorker(good);
    for (const at of [endpoint, endpoint.replace('127.0.0.1', 'localhost')]) {
      const client = createClient({ endpoint: at, tls: { ca } });
      await client.infer('one', {});
      let messages = 0;
      for await (const _message of client.inferStream('one', {})) messages++;
      expect(messages).toBe(1);
    }
  });

  it('can be discovered through an API server', async () => {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    await startSecureWorker(good, [server.url]);
    await until('it is registered', () => server.registry.replicas().length === 1);
    const client = createClient({ server: server.url, capability: { type: 'one' }, tls: { ca } });
    expect(await getFailure(client)).toBe('none');
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
  ])('is not called with a certificate %s', async (_what, certificate, tls, message) => {
    const endpoint = await startSecureWorker(certificate());
    expect(await getFailure(createClient({ endpoint, tls }))).toMatch(message);
  });

  it('requires a client certificate when it has an authority for them', async () => {
    const endpoint = await startSecureWorker({ ...good, ca });
    expect(await getFailure(createClient({ endpoint, tls: { ca, cert: mine.cert, key: mine.key } }))).toBe('none');
    expect(await getFailure(createClient({ endpoint, tls: { ca } }))).toMatch(
      /it requires a client certificate; give one/,
    );
    const strange = otherAuthority.sign('stranger');
    expect(await getFailure(createClient({ endpoint, tls: { ca, cert: strange.cert, key: strange.key } }))).toMatch(
      /does it accept the certificate of --tls-cert\?/,
    );
  });

  it('uses a renewed certificate for new connections', async () => {
    let tls: ServerTls = good;
    const endpoint = await startSecureWorker(() => tls);
    const kept = createClient({ endpoint, tls: { ca } });
    expect(await getFailure(kept)).toBe('none');
    tls = otherAuthority.sign('worker');
    await until(
      'new callers see the new one',
      async () => (await getFailure(createClient({ endpoint, tls: { ca: otherAuthority.cert } }))) === 'none',
    );
    expect(await getFailure(kept)).toBe('none');
    expect(await getFailure(createClient({ endpoint, tls: { ca } }))).toMatch(/not signed by a trusted authority/);
  });

  it('is called with a renewed client certificate', async () => {
    const endpoint = await startSecureWorker({ ...good, ca });
    let tls = { ca, cert: mine.cert, key: mine.key };
    const client = createClient({ endpoint, tls: () => tls });
    expect(await getFailure(client)).toBe('none');
    const strange = otherAuthority.sign('stranger');
    tls = { ca, cert: strange.cert, key: strange.key };
    expect(await getFailure(client)).toMatch(/does it accept the certificate/);
    tls = { ca, cert: mine.cert, key: mine.key };
    expect(await getFailure(client)).toBe('none');
  });

  it('reports the TLS requirement to plaintext callers, and survives connections that send nothing', async () => {
    const endpoint = await startSecureWorker(good);
    const silent = connect(Number(endpoint.split(':')[1]), '127.0.0.1');
    cleanups.push(() => silent.destroy());
    expect(await getFailure(createClient({ endpoint }))).toMatch(/does it use TLS\?/);
    expect(await getFailure(createClient({ endpoint, tls: { ca } }))).toBe('none');
  });
});

describe('a plaintext worker', () => {
  it('is detected by callers over TLS, and can be called with the right settings', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'one' }, () => ({ n: [1] })));
    cleanups.push(() => worker.stop());
    const { endpoint } = worker.replica;
    expect(await getFailure(createClient({ endpoint, tls: { ca } }))).toMatch(/: it does not use TLS/);
    expect(await getFailure(createClient({ endpoint, callTls: true }))).toMatch(/: it does not use TLS/);
    expect(await getFailure(createClient({ endpoint, tls: { ca }, callTls: false }))).toBe('none');
  });
});

describe('a probe over TLS', () => {
  const runProbe = (endpoint: string, tls: ClientTls): Promise<string> =>
    createGrpcProbe(parseDialable(endpoint), { tls: () => tls })(new AbortController().signal).then(
      () => 'healthy',
      (error) => `${error.code} ${error.message}`,
    );

  it('finds a worker healthy by address and by name, and reports a certificate problem', async () => {
    const endpoint = await startSecureWorker(good);
    expect(await runProbe(endpoint, { ca })).toBe('healthy');
    expect(await runProbe(endpoint.replace('127.0.0.1', 'localhost'), { ca })).toBe('healthy');
    expect(await runProbe(endpoint, {})).toMatch(/^unknown .*not signed by a trusted authority/);
    const misnamed = await startSecureWorker(authority.sign('misnamed', { names: 'DNS:elsewhere.test' }));
    expect(await runProbe(misnamed, { ca })).toMatch(/^unknown .*for another name \(IP: 127\.0\.0\.1 is not/);
  });

  it('sends its certificate to a worker that requires one', async () => {
    const endpoint = await startSecureWorker({ ...good, ca });
    expect(await runProbe(endpoint, { ca, cert: mine.cert, key: mine.key })).toBe('healthy');
    expect(await runProbe(endpoint, { ca })).toMatch(
      /requires a client certificate|connection was closed|socket hang up/,
    );
  });

  it('detects a plaintext worker', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'one' }, () => ({ n: [1] })));
    cleanups.push(() => worker.stop());
    expect(await runProbe(worker.replica.endpoint, { ca })).toMatch(/^unknown .*: it does not use TLS$/);
  });
});
