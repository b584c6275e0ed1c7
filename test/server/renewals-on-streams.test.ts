import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LEASE_PROTOCOL } from '../../src/api/lease-events.js';
import type { LeaseId } from '../../src/core/ids.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import {
  formatRegisterRequest,
  openRawConnection,
  type RawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { until } from '../support/until.js';

const RENEWED = 'data: {"status": "renewed"}\n\n';
const NOT_RENEWED = 'data: {"status": "not_renewed"}\n\n';

let tokens: TokenSet;
let server: TestApiServer;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  tokens = new TokenSet(['a-register-token']);
  server = await startTestApiServer({ heartbeatMs: 60_000, tokens: { register: () => tokens } });
  cleanups.push(() => server.close());
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Registers r1 with a request that asks for a protocol, and resolves when the lease is granted. */
async function register(protocol = LEASE_PROTOCOL, terms: object = { ttl: 60 }) {
  const body = { replica_id: 'r1', endpoint: 'h:1', capabilities: [{ type: 'chat' }], ...terms };
  const request = formatRegisterRequest(JSON.stringify(body)).replace(
    'Host: localhost\r\n',
    `Host: localhost\r\nAuthorization: Bearer a-register-token\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n`,
  );
  const connection = openRawConnection(server.port, request);
  cleanups.push(() => connection.socket.destroy());
  await until('the lease is granted', () => connection.received().includes('alive'));
  const lease = /^x-anyserve-lease: (\S+)\r$/im.exec(connection.received())?.[1] as LeaseId;
  return { ...connection, lease };
}

/** Sends a renewal on the stream, and resolves to the event that responds. */
async function renew({ socket, received }: RawConnection, line: string): Promise<string> {
  const before = received().length;
  socket.write(`${line}\n`);
  await until('the server has responded', () => received().length > before);
  return received().slice(before);
}

const isListed = (): boolean => server.registry.replicas().length > 0;

describe('a lease stream that takes renewals', () => {
  it('begins with 101, and has the events without HTTP framing', async () => {
    const { received, lease } = await register();
    const [head, body] = received().split(/\r\n\r\n/);
    expect(head).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(head).toMatch(/^upgrade: anyserve-lease\r$/m);
    expect(head).not.toMatch(/transfer-encoding|content-type/i);
    expect(head).toContain(`x-anyserve-lease: ${lease}`);
    expect(body).toBe('data: {"status": "registered", "replica_id": "r1"}\n\ndata: {"status": "alive"}\n\n');
  });

  it('renews the lease, and applies what the replica reports', async () => {
    const stream = await register();
    const loads: unknown[] = [];
    server.registry.loads.subscribe(({ load }) => loads.push(load));
    expect(await renew(stream, '{"state":"ready","load":{"running":3,"waiting":1}}')).toBe(RENEWED);
    expect(loads).toEqual([{ running: 3, waiting: 1 }]);
    expect(await renew(stream, '{"state":"unready"}')).toBe(RENEWED);
    expect(isListed()).toBe(false);
    expect(await renew(stream, '{"state":"ready"}')).toBe(RENEWED);
    expect(isListed()).toBe(true);
  });

  it('responds with the cordon of the replica', async () => {
    const stream = await register();
    const cordon = { cordoned: true, reason: 'disk full', at: 5 };
    const renewed = `data: {"status": "renewed", "cordon": ${JSON.stringify(cordon)}}\n\n`;
    expect(await renew(stream, JSON.stringify({ state: 'ready', cordon }))).toBe(renewed);
    expect(await renew(stream, '{"state":"ready"}')).toBe(renewed);
  });

  it.each(['{"state":"tired"}', '{', '[]'])('declines the invalid renewal %s, and stays open', async (line) => {
    const stream = await register();
    expect(await renew(stream, line)).toBe(NOT_RENEWED);
    expect(await renew(stream, '{"state":"ready"}')).toBe(RENEWED);
  });

  it('declines renewals whose token is no longer accepted', async () => {
    const stream = await register();
    tokens = new TokenSet(['another-register-token']);
    expect(await renew(stream, '{"state":"ready"}')).toBe(NOT_RENEWED);
  });

  it('reads a renewal that arrives in parts', async () => {
    const stream = await register();
    stream.socket.setNoDelay(true).write('{"state":');
    await until('the first part was read', async () => (await fetch(`${server.url}/livez`)).ok);
    expect(await renew(stream, '"ready"}')).toBe(RENEWED);
  });

  it.each([
    ['is longer than 4 KiB', `{"x":"${'x'.repeat(5000)}`],
    ['comes before the response to the previous one', '{"state":"ready"}\n', '{"state":"ready"}\n'],
  ])('is closed by the server when a renewal %s', async (_what, ...parts) => {
    const stream = await register();
    server.registry.renew = () => new Promise(() => {});
    for (const part of parts) stream.socket.write(part);
    await until('the replica is removed', () => !isListed());
  });

  it('ends with the event that a newer registration has replaced it', async () => {
    const stream = await register();
    await register();
    await until('the stream has ended', () => stream.socket.readableEnded);
    expect(stream.received()).toMatch(/data: \{"status": "superseded", "replica_id": "r1"\}\n\n$/);
  });
});

it.each([
  ['another protocol', 'websocket', { ttl: 60 }],
  ['a one-way lease', LEASE_PROTOCOL, {}],
])('a request for %s gets an ordinary lease stream', async (_what, protocol, terms) => {
  const { received } = await register(protocol, terms);
  expect(received()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(received()).toMatch(/^transfer-encoding: chunked\r$/im);
  expect(received()).not.toMatch(/^upgrade/im);
});
