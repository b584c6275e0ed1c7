import { afterEach, describe, expect, it } from 'vitest';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { App, Client, keepRegistered, startApiServer, startWorker } from '../../src/index.js';
import { ids } from '../../src/system.js';
import { createApiClient, listReplicas, toServer } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { createAuthority } from '../support/certificates.js';
import { ManualClock } from '../support/manual-clock.js';
import { query, replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts a server whose register token a test can change, as an operator changes the token file. */
async function startGuardedServer(
  ...lines: string[]
): Promise<TestApiServer & { setTokens(...lines: string[]): void }> {
  let tokens = new TokenSet(lines);
  const server = await startTestApiServer({ tokens: { register: () => tokens, read: () => new TokenSet(['reader']) } });
  cleanups.push(() => server.close());
  return {
    ...server,
    setTokens: (...others) => {
      tokens = new TokenSet(others);
    },
  };
}

function createKeeper(servers: string[], token: () => string) {
  const api = createApiClient(servers, { token });
  const clock = new ManualClock();
  const changes: LeaseChange[] = [];
  const onChange = (change: LeaseChange): void => void changes.push(change);
  const keeper = new LeaseKeeper({
    api,
    replica: replica('r1', {}),
    instanceId: ids.createInstanceId(),
    clock,
    random: createConstantRandom(0.5),
    onChange,
  });
  let failure: unknown;
  keeper.run().catch((error) => {
    failure = error;
  });
  cleanups.push(
    () => api.close(),
    () => keeper.stop(),
  );
  return { clock, changes, listKinds: () => changes.map(({ kind }) => kind), failure: () => failure };
}

describe('ApiClient', () => {
  it('sends the current token with every request', async () => {
    const server = await startGuardedServer('writer');
    let token = 'reader';
    const api = createApiClient(server.url, { token: () => token });
    cleanups.push(() => api.close());
    expect(await listReplicas(api)).toEqual([]);
    expect((await api.listReplicas()).replicas).toEqual([]);
    expect(await api.route(query({ a: 'b' }))).toEqual({ kind: 'none', isWarming: false });
    const { signal } = new AbortController();
    await expect(
      api.leases.open(toServer(server.url), replica('r1', {}), { ttlMs: 9000 }, signal),
    ).rejects.toMatchObject({
      code: 'server_unauthenticated',
    });
    token = 'writer';
    const lease = await api.leases.open(toServer(server.url), replica('r1', {}), { ttlMs: 9000 }, signal);
    expect(await api.leases.renew(lease, { state: 'ready' }, signal)).toEqual({ reply: 'renewed', cordon: undefined });
    await api.leases.release(lease, signal);
    lease.body.destroy();
    expect(server.registry.replicas()).toEqual([]);
  });

  it.each([undefined, () => 's3cret'])(
    'explains what to do when its token is rejected, without the token in the message',
    async (token) => {
      const server = await startGuardedServer('writer');
      const api = createApiClient(server.url, { token });
      cleanups.push(() => api.close());
      const failure = await listReplicas(api).catch((error) => error);
      expect(failure).toMatchObject({ code: 'server_unauthenticated', exitCode: 1, isFinal: true });
      expect(failure.message).toMatch(
        /^the API server \S+ refused the request \(HTTP 401\): (?:unknown token: )?this request needs a read token or a register token.*; give a token that has this permission with --token-file or in ANYSERVE_TOKEN$/,
      );
      expect(failure.message).not.toContain('s3cret');
    },
  );
});

describe('LeaseKeeper', () => {
  it('gives up when no server ever accepted its token', async () => {
    const server = await startGuardedServer('writer', 'other gpu-');
    const { failure, changes } = createKeeper([server.url], () => 'wrong');
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({ code: 'server_unauthenticated' });
    const other = createKeeper([server.url], () => 'other');
    await until('it gives up', () => other.failure() !== undefined);
    expect(other.failure()).toMatchObject({
      code: 'server_permission_denied',
      message: expect.stringContaining('only register ids that begin with "gpu-", not "r1"'),
    });
    expect([...changes, ...other.changes]).toEqual([]);
  });

  it('registers with the servers that accept its token, and tries the others again after 60 s', async () => {
    const [refusing, accepting] = [await startGuardedServer('other'), await startGuardedServer('writer')];
    const { clock, changes, listKinds } = createKeeper([refusing.url, accepting.url], () => 'writer');
    await until('one registration and one refusal', () => listKinds().length === 2);
    expect(accepting.registry.replicas()).toHaveLength(1);
    const refusals = changes.filter(({ kind }) => kind === 'lost');
    expect(refusals).toMatchObject([{ server: refusing.url, retryInMs: 60_000 }]);
    refusing.setTokens('writer');
    await until('it is registered', () => {
      clock.advance(2000);
      return refusing.registry.replicas().length === 1;
    });
    expect(clock.nowMs()).toBeGreaterThanOrEqual(60_000);
  });

  it('survives a token change: it retries until it has the new token, and reports the problem once', async () => {
    const server = await startGuardedServer('old');
    let token = 'old';
    const { clock, listKinds, failure } = createKeeper([server.url], () => token);
    await until('it is registered', () => listKinds().includes('registered'));
    server.setTokens('new');
    const [known] = server.registry.known();
    if (known) await server.registry.release(known.registration.lease, 'expired');
    await until('the lease is lost', () => listKinds().includes('lost'));
    for (let tries = 0; tries < 5; tries++) {
      await until('it is waiting', () => clock.pending().length === 1);
      clock.advance(10_000);
    }
    await until('it is waiting', () => clock.pending().length === 1);
    expect(listKinds()).toEqual(['registered', 'lost', 'lost']);
    expect(failure()).toBeUndefined();
    token = 'new';
    clock.advance(10_000);
    await until('it is registered again', () => listKinds().at(-1) === 'registered');
    expect(server.registry.replicas()).toHaveLength(1);
    server.setTokens('newer');
    const [again] = server.registry.known();
    if (again) await server.registry.release(again.registration.lease, 'expired');
    await until('the loss is reported again', () => listKinds().length === 5);
    await until('it is waiting', () => clock.pending().length === 1);
    clock.advance(10_000);
    await until('the refusal is reported again', () => listKinds().length === 6);
    expect(listKinds()).toEqual(['registered', 'lost', 'lost', 'registered', 'lost', 'lost']);
  });
});

describe('a token of a team', () => {
  it('keeps the capabilities that it may register when others are refused', async () => {
    const server = await startGuardedServer('writer prefix=r tenant=a');
    const registered = { server: server.url, token: 'writer', id: 'r1', endpoint: 'r1.test:1' };
    const kept = await keepRegistered({ ...registered, capabilities: [{ tenant: 'a', model: 'x' }] });
    cleanups.push(() => kept.stop());
    await until('it is registered', () => server.registry.replicas().length === 1);
    await expect(kept.update({ capabilities: [{ tenant: 'b' }] })).rejects.toMatchObject({
      code: 'unprocessable',
      message: expect.stringMatching(/refuses the capabilities: .*with "tenant":"a": object 1 has "tenant":"b"$/),
    });
    await kept.update({ capabilities: [{ tenant: 'a', model: 'y' }] });
    expect(server.registry.replicas()[0]?.capabilities.map(({ source }) => source)).toEqual([
      '{"tenant":"a","model":"y"}',
    ]);
  });
});

describe('the library', () => {
  it('sends the given token', async () => {
    const server = await startGuardedServer('writer');
    const keeper = await keepRegistered({
      server: server.url,
      token: 'writer',
      id: 'r1',
      endpoint: '127.0.0.1:1',
      capabilities: [{ type: 'chat' }],
    });
    cleanups.push(() => keeper.stop());
    await until('it is registered', () => server.registry.replicas().length === 1);
    const client = (token: string): Client => {
      const made = new Client({ server: server.url, capability: { type: 'none' }, token });
      cleanups.push(() => made.close());
      return made;
    };
    await expect(client('reader').serverLive()).rejects.toMatchObject({ code: 'no_match' });
    await expect(client('wrong').serverLive()).rejects.toMatchObject({ code: 'server_unauthenticated' });
  });

  it('starts servers with token authentication over TLS, and calls them', async () => {
    const authority = createAuthority();
    const { cert, key } = authority.sign('server');
    const tls = { cert, key };
    const trusting = { ca: authority.cert };
    const registerTokens = new TokenSet(['writer']);
    const server = await startApiServer({ port: 0, registerTokens, readTokens: () => new TokenSet(['reader']), tls });
    cleanups.push(() => server.close());
    const app = new App().capability({ type: 'one' }, () => ({ n: [1] }));
    const worker = await startWorker({
      backends: [app],
      port: 0,
      servers: [server.url],
      token: 'writer',
      serverTls: trusting,
      callTokens: new TokenSet(['caller']),
      tls,
    });
    cleanups.push(() => worker.stop());
    const found = { server: server.url, capability: { type: 'one' }, tls: trusting };
    const client = new Client({ ...found, token: 'reader', callToken: () => 'caller' });
    cleanups.push(() => client.close());
    await until(
      'the worker is found',
      async () => (await client.infer('one', {}).catch(() => undefined)) !== undefined,
    );
    expect(client.endpoint).toBe(worker.replica.endpoint);
    const keeper = await keepRegistered({
      server: server.url,
      token: () => 'writer',
      tls: trusting,
      id: 'r2',
      endpoint: 'localhost:1',
      capabilities: [{ type: 'two' }],
    });
    cleanups.push(() => keeper.stop());
    const looking = new Client({ ...found, capability: { type: 'two' }, token: 'reader' });
    cleanups.push(() => looking.close());
    await until('it is registered', () =>
      looking.serverLive({ timeoutMs: 1000 }).then(
        () => false,
        ({ code }) => code === 'unavailable',
      ),
    );
  });
});
