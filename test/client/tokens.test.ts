import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from '../../src/client/api-client.js';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { App, Client, keepRegistered, startApiServer, startWorker } from '../../src/index.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { createAuthority } from '../support/certificates.js';
import { ManualClock } from '../support/manual-clock.js';
import { query, replica } from '../support/replicas.js';
import { constantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server whose register token a test changes, as an operator changes its file. */
async function guardedServer(...lines: string[]): Promise<TestApiServer & { setTokens(...lines: string[]): void }> {
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

function keeper(servers: string[], token: () => string) {
  const api = new ApiClient(servers, { token });
  const clock = new ManualClock();
  const changes: LeaseChange[] = [];
  const onChange = (change: LeaseChange): void => void changes.push(change);
  const kept = new LeaseKeeper({ api, replica: replica('r1', {}), clock, random: constantRandom(0.5), onChange });
  let failure: unknown;
  kept.run().catch((error) => {
    failure = error;
  });
  cleanups.push(
    () => api.close(),
    () => kept.stop(),
  );
  return { clock, changes, kinds: () => changes.map(({ kind }) => kind), failure: () => failure };
}

describe('the API client', () => {
  it('shows its token with every request, the one that holds at the time', async () => {
    const server = await guardedServer('writer');
    let token = 'reader';
    const api = new ApiClient([server.url], { token: () => token });
    cleanups.push(() => api.close());
    expect(await api.replicas()).toEqual([]);
    expect(await api.list()).toEqual([]);
    expect(await api.route(query({ a: 'b' }))).toEqual({ kind: 'none', isWarming: false });
    const { signal } = new AbortController();
    await expect(api.leases.open(replica('r1', {}), { ttlMs: 9000 }, signal)).rejects.toMatchObject({
      code: 'server_unauthenticated',
    });
    token = 'writer';
    const { lease, body } = await api.leases.open(replica('r1', {}), { ttlMs: 9000 }, signal);
    if (lease === undefined) throw new Error('the lease is one-way');
    expect(await api.leases.renew(server.url, lease, { state: 'ready' }, signal)).toBe('renewed');
    await api.leases.release(server.url, lease, signal);
    body.destroy();
    expect(server.registry.replicas()).toEqual([]);
  });

  it.each([undefined, () => 's3cret'])(
    'says what to do when its token does not do, and does not show it',
    async (token) => {
      const server = await guardedServer('writer');
      const api = new ApiClient([server.url], { token });
      cleanups.push(() => api.close());
      const failure = await api.replicas().catch((error) => error);
      expect(failure).toMatchObject({ code: 'server_unauthenticated', exitCode: 1, final: true });
      expect(failure.message).toMatch(
        /^the API server \S+ refused the request \(HTTP 401\): (?:unknown token: )?this request needs a read token or a register token.*; give a token that has this permission with --token-file or in ANYSERVE_TOKEN$/,
      );
      expect(failure.message).not.toContain('s3cret');
    },
  );
});

describe('a lease keeper', () => {
  it('ends when its token was never taken', async () => {
    const server = await guardedServer('writer', 'other gpu-');
    const { failure, changes } = keeper([server.url], () => 'wrong');
    await until('it gives up', () => failure() !== undefined);
    expect(failure()).toMatchObject({ code: 'server_unauthenticated' });
    const other = keeper([server.url], () => 'other');
    await until('it gives up', () => other.failure() !== undefined);
    expect(other.failure()).toMatchObject({
      code: 'server_permission_denied',
      message: expect.stringContaining('only register ids that begin with "gpu-", not "r1"'),
    });
    expect([...changes, ...other.changes]).toEqual([]);
  });

  it('tries the other servers of the list before it ends', async () => {
    const [refusing, taking] = [await guardedServer('other'), await guardedServer('writer')];
    const { clock, kinds } = keeper([refusing.url, taking.url], () => 'writer');
    await until('it waits', () => kinds().includes('lost') && clock.pending().length === 1);
    clock.advance(1000);
    await until('it is registered', () => taking.registry.replicas().length === 1);
  });

  it('outlives a change of tokens, tries until it has the new one, and says so once', async () => {
    const server = await guardedServer('old');
    let token = 'old';
    const { clock, kinds, failure } = keeper([server.url], () => token);
    await until('it is registered', () => kinds().includes('registered'));
    server.setTokens('new');
    const [known] = server.registry.known();
    if (known) await server.registry.release(known.registration.lease, 'expired');
    await until('the lease is lost', () => kinds().includes('lost'));
    for (let tries = 0; tries < 5; tries++) {
      await until('it waits', () => clock.pending().length === 1);
      clock.advance(10_000);
    }
    await until('it waits', () => clock.pending().length === 1);
    expect(kinds()).toEqual(['registered', 'lost', 'lost']);
    expect(failure()).toBeUndefined();
    token = 'new';
    clock.advance(10_000);
    await until('it is registered again', () => kinds().at(-1) === 'registered');
    expect(server.registry.replicas()).toHaveLength(1);
    server.setTokens('newer');
    const [again] = server.registry.known();
    if (again) await server.registry.release(again.registration.lease, 'expired');
    await until('the loss is told again', () => kinds().length === 5);
    await until('it waits', () => clock.pending().length === 1);
    clock.advance(10_000);
    await until('the refusal is told again', () => kinds().length === 6);
    expect(kinds()).toEqual(['registered', 'lost', 'lost', 'registered', 'lost', 'lost']);
  });
});

describe('the library', () => {
  it('shows the token given', async () => {
    const server = await guardedServer('writer');
    const kept = await keepRegistered({
      server: server.url,
      token: 'writer',
      id: 'r1',
      endpoint: '127.0.0.1:1',
      capabilities: [{ type: 'chat' }],
    });
    cleanups.push(() => kept.stop());
    await until('it is registered', () => server.registry.replicas().length === 1);
    const client = (token: string): Client => {
      const made = new Client({ server: server.url, capability: { type: 'none' }, token });
      cleanups.push(() => made.close());
      return made;
    };
    await expect(client('reader').serverLive()).rejects.toMatchObject({ code: 'no_match' });
    await expect(client('wrong').serverLive()).rejects.toMatchObject({ code: 'server_unauthenticated' });
  });

  it('runs servers that ask for tokens over TLS, and calls them', async () => {
    const authority = createAuthority();
    const tls = authority.sign('server');
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
    const kept = await keepRegistered({
      server: server.url,
      token: () => 'writer',
      tls: trusting,
      id: 'r2',
      endpoint: 'localhost:1',
      capabilities: [{ type: 'two' }],
    });
    cleanups.push(() => kept.stop());
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
