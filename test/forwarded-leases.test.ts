import { afterEach, describe, expect, it } from 'vitest';
import { addServer, asLeaseId } from '../src/core/ids.js';
import type { ServerTls } from '../src/core/tls.js';
import { HttpConnections } from '../src/http/http-client.js';
import {
  type ApiServer,
  SerializedReplica,
  type StartApiServerOptions,
  startApiServer,
  TokenSet,
} from '../src/index.js';
import { EtcdStore } from '../src/store/etcd/etcd-store.js';
import * as system from '../src/system.js';
import { formatRegistrationBody, openRawConnection } from './support/api-server.js';
import { createAuthority } from './support/certificates.js';
import { findFreePort } from './support/free-port.js';
import { connectSimulatedEtcd, SimulatedEtcd } from './support/simulated-etcd.js';
import { until } from './support/until.js';

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Returns whether a server would ask another one about a lease. Its store has received a marker with the URL then. */
async function knowsUrl(asked: SharingServer, { store }: SharingServer): Promise<boolean> {
  const found = await asked.store.findForeignLease(addServer(asLeaseId('any'), store.serverId));
  return found.kind === 'unshared';
}

interface SharingServer extends ApiServer {
  readonly store: EtcdStore<SerializedReplica>;
  readonly link: ReturnType<typeof connectSimulatedEtcd>['link'];
  readonly lines: string[];
}

/** Starts API servers that share a simulated etcd, one with each of these options. */
async function serveSharing(...options: StartApiServerOptions[]) {
  const etcd = new SimulatedEtcd(system.clock);
  const servers = await Promise.all(options.map((one) => serve(etcd, one)));
  await until('all know the registry', async () => {
    const problems = await Promise.all(servers.map(({ url }) => problemOf(url)));
    return problems.every((one) => one === undefined);
  });
  return { etcd, servers: servers as [SharingServer, SharingServer] };
}

async function problemOf(url: string): Promise<string | undefined> {
  if (url.startsWith('https')) return undefined;
  const response = await fetch(`${url}/readyz`);
  const isKnown = response.headers.get('x-anyserve-registry') !== 'unknown';
  return isKnown && response.status === 200 ? undefined : 'not ready';
}

async function serve(etcd: SimulatedEtcd, options: StartApiServerOptions): Promise<SharingServer> {
  const { clock, random, ids } = system;
  const api = connectSimulatedEtcd(etcd, clock);
  const createReplica = (replica: ConstructorParameters<typeof SerializedReplica>[0]) => new SerializedReplica(replica);
  const parts = { api, prefix: '/anyserve', clock, random, ids, createReplica, events: { emit() {} } };
  const store = new EtcdStore<SerializedReplica>(parts);
  const lines: string[] = [];
  const keep = (line: string): void => void lines.push(line);
  const log = { info: keep, warn: keep };
  const server = await startApiServer({ port: 0, warmingMs: 0, store, log, ...options });
  closing.push(async () => {
    await server.close();
    api.link.isCut = false;
    await store.close();
  });
  return { ...server, store, link: api.link, lines };
}

/** Registers a replica with a two-way lease. Returns the lease, its owner, and what its stream has sent. */
async function register(server: ApiServer, id = 'r1', token?: string, capabilities?: object[]) {
  const body = JSON.stringify({ ...JSON.parse(formatRegistrationBody(id, capabilities)), ttl: 60 });
  const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
  const head = `POST /register HTTP/1.1\r\nHost: localhost\r\n${authorization}Content-Length: ${body.length}\r\n\r\n`;
  const { socket, received } = openRawConnection(server.port, `${head}${body}`);
  closing.push(() => socket.destroy());
  await until('it is registered', () => received().includes('{"status": "alive"}'));
  const getHeader = (name: string): string => new RegExp(`${name}: (.*)\r`).exec(received())?.[1] ?? '';
  return { lease: getHeader('x-anyserve-lease'), owner: getHeader('x-anyserve-owner'), received };
}

/** Creates capability objects that are too large for a record in etcd. */
function createLargeCapabilities(pairs: object = {}): object[] {
  return Array.from({ length: 1500 }, (_, n) => ({ ...pairs, note: String(n).padStart(200, 'x') }));
}

async function listIds({ url }: ApiServer): Promise<string[]> {
  const { replicas } = (await (await fetch(`${url}/replicas`)).json()) as { replicas: { replica_id: string }[] };
  return replicas.map(({ replica_id: id }) => id);
}

interface LeaseResponse {
  readonly status: number;
  readonly body: string;
  readonly headers: Headers;
}

async function send(
  server: ApiServer,
  lease: string,
  { method = 'PUT', body, headers = {} }: { method?: string; body?: string; headers?: Record<string, string> } = {},
): Promise<LeaseResponse> {
  const response = await fetch(`${server.url}/leases/${lease}`, { method, headers, ...(body && { body }) });
  return { status: response.status, body: await response.text(), headers: response.headers };
}

async function countRenewals({ url }: ApiServer): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const counts = text.matchAll(/^anyserve_lease_renewals_total\{result="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...counts].map(([, result, count]) => [result, Number(count)]));
}

/** Waits until servers that have just started can tell that a lease doesn't exist. Each counts one unknown lease. */
async function waitForCertainty(servers: readonly ApiServer[]): Promise<void> {
  for (const server of servers)
    await until('it is certain', async () => (await send(server, 'unknown')).status === 404);
}

const RENEWED = { status: 200, body: '{"status":"renewed"}' };

describe('a request for a lease of another API server', () => {
  it('has the outcome that it has at the owner', async () => {
    const { servers } = await serveSharing({}, {});
    await waitForCertainty(servers);
    const [owner, other] = servers;
    const { lease } = await register(owner);
    expect(await send(other, lease)).toMatchObject(RENEWED);
    expect(await send(other, lease, { body: '{"state":"draining"}' })).toMatchObject(RENEWED);
    const { replicas } = (await (await fetch(`${owner.url}/replicas`)).json()) as { replicas: unknown[] };
    expect(replicas).toMatchObject([{ state: 'draining' }]);
    const capabilities = '{"capabilities":[{"type":"other"}]}';
    expect(await send(other, lease, { body: capabilities })).toMatchObject(RENEWED);
    const tooSoon = await send(other, lease, { body: capabilities });
    expect([tooSoon.status, tooSoon.headers.get('retry-after')]).toEqual([429, '1']);
    for (const server of servers)
      expect(await send(server, lease, { body: '{"state":"no"}' })).toMatchObject({ status: 422 });
    expect(await send(other, lease, { method: 'DELETE' })).toMatchObject({
      status: 200,
      body: '{"status":"released"}',
    });
    for (const server of servers) expect(await send(server, lease)).toMatchObject({ status: 404 });
    // Only the owner counts what it has renewed or refused. Both have refused one lease that names no server.
    expect(await countRenewals(owner)).toEqual({ renewed: 3, superseded: 0, too_soon: 1, refused: 0, unknown: 3 });
    expect(await countRenewals(other)).toEqual({ renewed: 0, superseded: 0, too_soon: 0, refused: 0, unknown: 1 });
  });

  it('is a 409 after a newer registration of the id', async () => {
    const { servers } = await serveSharing({}, {});
    await waitForCertainty(servers);
    const { lease } = await register(servers[0]);
    await register(servers[0]);
    for (const server of servers) expect(await send(server, lease)).toMatchObject({ status: 409 });
  });

  it('is forwarded right after the registration, before the other server knows of it', async () => {
    const { servers } = await serveSharing({}, {});
    servers[1].link.delayMs = () => 100;
    for (let n = 0; n < 5; n++) {
      const { lease } = await register(servers[0], `r${n}`);
      expect(await send(servers[1], lease)).toMatchObject(RENEWED);
    }
  });

  it('is not forwarded a second time', async () => {
    const { servers } = await serveSharing({}, {});
    const { lease } = await register(servers[0]);
    await until('the other knows it', async () => (await send(servers[1], lease)).status === 200);
    const response = await send(servers[1], lease, { headers: { 'x-anyserve-forwarded': '1' } });
    expect(response).toMatchObject({ status: 421, body: '{"detail":"another API server granted this lease"}' });
    expect(response.headers.get('x-anyserve-owner')).toBe(servers[0].url);
  });

  it('is a 503 if the URL of the owner leads to another server, or to the server that forwards it', async () => {
    const port = await findFreePort();
    const { servers } = await serveSharing({ advertise: `http://127.0.0.1:${port}` }, { port }, {});
    const { lease, owner } = await register(servers[0]);
    expect(owner).toBe(`http://127.0.0.1:${port}`);
    for (const server of servers.slice(1)) expect(await send(server, lease)).toMatchObject({ status: 503 });
  });

  it('is a 503 while the record of an owner that is gone is still there, and a 404 after that', async () => {
    const advertise = `http://127.0.0.1:${await findFreePort()}`;
    const { etcd, servers } = await serveSharing({ advertise }, {});
    const { lease } = await register(servers[0]);
    const [granted] = etcd.leases;
    const response = await send(servers[1], lease);
    expect(response).toMatchObject({ status: 503 });
    expect(response.headers.get('x-anyserve-owner')).toBe(advertise);
    expect(servers[1].lines.at(-1)).toMatch(`cannot forward renewals to the API server ${advertise}: `);
    expect(servers[1].lines.at(-1)).toMatch('ECONNREFUSED');
    servers[0].link.isCut = true;
    etcd.revoke(granted as bigint);
    await until('it is gone', async () => (await send(servers[1], lease)).status === 404);
  });

  it('is a 503 while this server cannot know all leases, even if the lease does not exist', async () => {
    const { servers } = await serveSharing({}, {});
    await waitForCertainty(servers);
    servers[1].link.isCut = true;
    expect(await send(servers[1], 'unknown')).toMatchObject({ status: 503 });
    expect(await send(servers[0], 'unknown')).toMatchObject({ status: 404 });
  });

  it('has the outcome that it has at an owner that etcd is too small for, or cannot be reached by', async () => {
    const { etcd, servers } = await serveSharing({}, {});
    await waitForCertainty(servers);
    const [owner, other] = servers;
    await register(owner);
    const large = await register(owner, 'large', undefined, createLargeCapabilities());
    const tests = [large];
    const [granted] = etcd.leases;
    const check = async (): Promise<void> => {
      for (const { lease } of tests) expect(await send(other, lease)).toMatchObject(RENEWED);
      const ended = large.lease.replace(/^./, 'x');
      expect(await send(other, ended, { body: 'not JSON' })).toMatchObject({ status: 404 });
    };
    await until('the other has the URL', async () => (await send(other, large.lease)).status === 200);
    await check();
    owner.link.isCut = true;
    tests.push(await register(owner, 'during'));
    await check();
    etcd.revoke(granted as bigint);
    await until('its marker is gone', async () => (await listIds(other)).length === 0, 20_000);
    await check();
    for (const { lease } of tests)
      expect(await send(other, lease, { method: 'DELETE' })).toMatchObject({ status: 200 });
    expect(await listIds(owner)).toEqual(['r1']);
  }, 30_000);

  it('is forwarded to an owner that could never write to etcd since its first lease', async () => {
    const { servers } = await serveSharing({}, {});
    const [owner, other] = servers;
    await until('the other has the URL of the owner', () => knowsUrl(other, owner));
    owner.link.isCut = true;
    const { lease } = await register(owner);
    expect(await send(other, lease)).toMatchObject(RENEWED);
  });

  it('has the limits of any body', async () => {
    const { servers } = await serveSharing({}, {});
    const { lease } = await register(servers[0]);
    expect(await send(servers[1], lease, { body: 'x'.repeat(2 ** 21) })).toMatchObject({ status: 413 });
  });
});

describe('an API server that requires tokens', () => {
  const registerTokens = new TokenSet(['a-register-token']);
  const peerTokens = new TokenSet(['a-peer-token']);
  const client = { headers: { authorization: 'Bearer a-register-token' } };

  it('accepts forwarded requests with a peer token, and nothing else with it', async () => {
    const options = { registerTokens, peerTokens, peerToken: 'a-peer-token' };
    const { servers } = await serveSharing(options, options);
    const { lease } = await register(servers[0], 'r1', 'a-register-token');
    expect(await send(servers[1], lease, client)).toMatchObject(RENEWED);
    expect(await send(servers[1], lease)).toMatchObject({ status: 401 });
    const peer = { authorization: 'Bearer a-peer-token' };
    expect(await send(servers[0], lease, { headers: peer })).toMatchObject({ status: 401 });
    expect(await send(servers[0], lease, { headers: { ...peer, 'x-anyserve-forwarded': '1' } })).toMatchObject(RENEWED);
    const registering = {
      method: 'POST',
      body: formatRegistrationBody('r2'),
      headers: { ...peer, 'x-anyserve-forwarded': '1' },
    };
    expect((await fetch(`${servers[0].url}/register`, registering)).status).toBe(401);
  });

  it.each([[undefined], ['another-peer-token']])('gives 503 when the peer token is %s', async (peerToken) => {
    const { servers } = await serveSharing({ registerTokens, peerTokens }, { registerTokens, peerToken });
    const { lease } = await register(servers[0], 'r1', 'a-register-token');
    expect(await send(servers[1], lease, client)).toMatchObject({ status: 503 });
    expect(servers[1].lines.at(-1)).toContain('it does not accept the peer token of this server');
  });
});

describe('a team whose lease is at another API server', () => {
  const registerTokens = new TokenSet(['team-a prefix=a- tenant=a', 'team-b prefix=b- tenant=b']);
  const options = { registerTokens, peerTokens: new TokenSet(['a-peer-token']), peerToken: 'a-peer-token' };
  const as = (team: string, body?: string) => ({
    headers: { authorization: `Bearer team-${team}` },
    ...(body && { body }),
  });

  it('has the rights that it has at its server', async () => {
    const { servers } = await serveSharing(options, options);
    const { lease } = await register(servers[0], 'a-1', 'team-a', [{ tenant: 'a' }]);
    for (const server of servers) {
      expect(await send(server, lease, as('a'))).toMatchObject(RENEWED);
      expect(await send(server, lease, as('a', '{"capabilities":[{"tenant":"b"}]}'))).toMatchObject({ status: 403 });
      expect(await send(server, lease, as('b'))).toMatchObject({ status: 404 });
      expect(await send(server, lease, { method: 'DELETE', ...as('b') })).toMatchObject({ status: 404 });
    }
  });

  it('has them also for a lease whose registration only its server has', async () => {
    const { servers } = await serveSharing(options, options);
    const { lease } = await register(servers[0], 'a-1', 'team-a', createLargeCapabilities({ tenant: 'a' }));
    await until('it is found', async () => (await send(servers[1], lease, as('a'))).status === 200);
    for (const server of servers) {
      expect(await send(server, lease, as('b'))).toMatchObject({ status: 404 });
      expect(await send(server, lease, { method: 'DELETE', ...as('b') })).toMatchObject({ status: 404 });
      expect(await send(server, lease, as('a', '{"capabilities":[{"tenant":"b"}]}'))).toMatchObject({ status: 403 });
      expect(await send(server, lease, as('a'))).toMatchObject(RENEWED);
    }
    expect(await send(servers[1], lease, { method: 'DELETE', ...as('a') })).toMatchObject({ status: 200 });
  });

  it('has none if the header with the scope is not valid', async () => {
    const { servers } = await serveSharing(options, options);
    const { lease } = await register(servers[0], 'a-1', 'team-a', [{ tenant: 'a' }]);
    const headers = { authorization: 'Bearer a-peer-token', 'x-anyserve-forwarded': '1' };
    for (const scope of ['', '[]', '{"tenant":"a"}', '[["tenant"]]', '[["tenant",1]]', '[["tenant","a"]'])
      expect(await send(servers[0], lease, { headers: { ...headers, 'x-anyserve-scope': scope } })).toMatchObject({
        status: 401,
        body: expect.stringContaining('x-anyserve-scope is not a JSON array of pairs'),
      });
  });
});

describe('API servers with TLS', () => {
  const authority = createAuthority();
  const createTls = (name: string): ServerTls => {
    const { cert, key } = authority.sign(name);
    return { cert, key, ca: authority.cert };
  };
  const [one, other, client] = [createTls('one'), createTls('other'), createTls('client')];

  /** Registers at the first server and renews at the second, with a client certificate. */
  async function renewAtOther(...options: StartApiServerOptions[]) {
    const { servers } = await serveSharing(...options);
    const connections = new HttpConnections(() => client);
    closing.push(() => connections.close());
    await until('both know the registry', async () => {
      const heads = await Promise.all(
        servers.map(({ url }) => connections.send({ method: 'GET', url: `${url}/readyz`, headTimeoutMs: 10_000 })),
      );
      return heads.every(({ status, headers }) => status === 200 && headers['x-anyserve-registry'] !== 'unknown');
    });
    const body = JSON.stringify({ ...JSON.parse(formatRegistrationBody('r1')), ttl: 60 });
    const request = { method: 'POST', url: `${servers[0].url}/register`, body, headTimeoutMs: 10_000 };
    const { headers } = await connections.send(request);
    const url = `${servers[1].url}/leases/${headers['x-anyserve-lease']}`;
    const { status } = await connections.send({ method: 'PUT', url, headTimeoutMs: 10_000 });
    return { owner: headers['x-anyserve-owner'], servers, status };
  }

  it('forward with their own certificates to owners that require one', async () => {
    const { status, owner, servers } = await renewAtOther({ tls: one }, { tls: other });
    expect(owner).toBe(servers[0].url);
    expect(owner).toMatch(/^https:/);
    expect(status).toBe(200);
  });

  it('can have other certificates for this', async () => {
    const stranger = createAuthority('stranger').sign('stranger');
    const { status, servers } = await renewAtOther(
      { tls: one },
      { tls: other, peerTls: { cert: stranger.cert, key: stranger.key } },
    );
    expect(status).toBe(503);
    expect(servers[1].lines.at(-1)).toMatch(/^cannot forward renewals to the API server https:/);
  });
});

it.each([
  [{ advertise: 'http://0.0.0.0:8080' }, /"http:\/\/0.0.0.0:8080" is not a URL at which others reach this API server/],
  [{ advertise: 'http://fd00::1:8080' }, /an IPv6 address needs brackets/],
  [{ advertise: 'api1:8080' }, /give a URL such as/],
  [{ peerToken: 'secret' }, /the store is not shared with any; give an address such as etcd/],
] as const)('refuses %j', async (options, problem) => {
  await expect(startApiServer({ port: 0, ...options })).rejects.toThrow(problem);
});
