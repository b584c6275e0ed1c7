import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { LeaseChange } from '../../src/client/lease-change.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import { findOwnerAddress, ReportedOwner } from '../../src/client/reported-owner.js';
import { ids } from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import { findFreePort } from '../support/free-port.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

describe('the reported owner of a lease', () => {
  const find = (reported: unknown, url: string, peer = '10.0.0.9:80') =>
    findOwnerAddress(reported, { name: url, url, address: undefined }, peer);

  it.each([
    ['http://10.0.0.1:8080', 'http://lb.example', { url: 'http://10.0.0.1:8080' }],
    ['http://10.0.0.1:8080/', 'http://10.0.0.9:80', { url: 'http://10.0.0.1:8080' }],
    ['http://127.0.0.1:8081', 'http://127.0.0.1:8080', { url: 'http://127.0.0.1:8081' }],
    ['https://10.0.0.1:8443', 'http://lb.example', { url: 'https://10.0.0.1:8443' }],
    ['https://api1.example:8443', 'https://lb.example', { url: 'https://api1.example:8443' }],
    // The certificate is verified for the listed name.
    ['https://10.0.0.1:8443', 'https://lb.example', { url: 'https://lb.example:8443', address: '10.0.0.1' }],
    ['https://[fd00::1]:8443', 'https://lb.example', { url: 'https://lb.example:8443', address: 'fd00::1' }],
    ['https://10.0.0.1:8443', 'https://10.0.0.9', { url: 'https://10.0.0.1:8443' }],
    ['https://10.0.0.1', 'http://127.0.0.1:8080', { url: 'https://10.0.0.1' }],
  ])('%s is asked for %s', (reported, listed, expected) => {
    const name = reported.replace(/\/$/, '');
    expect(find(reported, listed)).toEqual({ name, address: undefined, listedUrl: listed, ...expected });
  });

  it.each<[unknown, string, string]>([
    ['http://10.0.0.1:8080', 'http://10.0.0.1:8080', 'it is the listed server'],
    ['http://127.0.0.1:8080', 'http://localhost:8080', 'it is the listed server'],
    ['http://10.0.0.1:8080', 'https://lb.example', 'the token would be sent without TLS'],
    ['http://10.0.0.1:8080', 'http://127.0.0.1:8080', 'the token would leave this machine without TLS'],
    ['http://127.0.0.1:8080', 'http://lb.example', 'it would be a program on this machine'],
    ['https://localhost:8443', 'https://lb.example', 'it would be a program on this machine'],
    ['http://user:secret@10.0.0.1', 'http://lb.example', 'it has a password'],
    ['http://0.0.0.0:8080', 'http://lb.example', 'it is no address'],
    ['ftp://10.0.0.1', 'http://lb.example', 'it is another protocol'],
    ['10.0.0.1:8080', 'http://lb.example', 'it is no URL'],
    [undefined, 'http://lb.example', 'there is none'],
    [['http://10.0.0.1:8080'], 'http://lb.example', 'it is no text'],
  ])('%s is not asked for %s: %s', (reported, listed, _reason) => {
    expect(find(reported, listed)).toBeUndefined();
  });

  it.each([
    ['http://10.0.0.1:8080', '10.0.0.1:8080'],
    ['https://10.0.0.1', '10.0.0.1:443'],
    ['http://[fd00::1]:8080', '[fd00::1]:8080'],
  ])('%s is not asked if the response came from %s', (reported, peer) => {
    expect(find(reported, 'http://api.example:8080', peer)).toBeUndefined();
  });

  it('is not asked for 30 s after it has not responded', () => {
    const owner = new ReportedOwner({ name: 'o', url: 'http://o', address: undefined });
    expect(owner.isReachable(0)).toBe(true);
    owner.recordFailure(1000);
    expect([owner.isReachable(30_999), owner.isReachable(31_000)]).toEqual([false, true]);
  });
});

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server for a test. `respond` handles requests for leases, and `health` is the registry in responses to `GET /health`. */
async function startFake(respond: (response: ServerResponse) => void, health = 'own') {
  const requests: string[] = [];
  const streams: ServerResponse[] = [];
  let owner = '';
  const server = createServer((request: IncomingMessage, response) => {
    requests.push(`${request.method} ${request.url}`);
    response.setHeader('x-anyserve-registry', request.method === 'GET' ? health : 'own');
    if (request.method === 'GET') return void response.end();
    if (request.method !== 'POST') return respond(response);
    response.setHeader('x-anyserve-owner', owner);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
    response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
    streams.push(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const count = (text: string): number => requests.filter((line) => line.startsWith(text)).length;
  const setOwner = (reported: string): void => {
    owner = reported;
  };
  return { url, requests, streams, count, setOwner };
}

const renewed = (response: ServerResponse): void => void response.end('{"status":"renewed"}');

function keep(url: string) {
  const api = createApiClient([url]);
  const clock = new ManualClock();
  const changes: LeaseChange[] = [];
  const options = { api, replica: replica('r1'), instanceId: ids.createInstanceId(), clock };
  const onChange = (change: LeaseChange): void => void changes.push(change);
  const keeper = new LeaseKeeper({ ...options, random: createConstantRandom(0.5), onChange });
  void keeper.run();
  cleanups.push(
    () => api.close(),
    () => keeper.stop(),
  );
  return { clock, keeper, listKinds: (): string[] => changes.map(({ kind }) => kind), changes };
}

/** Lets the keeper's time pass until a condition holds. */
function untilLater(what: string, clock: ManualClock, isTrue: () => boolean): Promise<void> {
  return until(what, () => {
    if (isTrue()) return true;
    clock.advance(500);
    return false;
  });
}

describe('a keeper behind a load balancer', () => {
  it('renews and releases the lease at its owner, and checks the listed address a few times', async () => {
    const [listed, owner] = [await startFake(renewed), await startFake(renewed)];
    listed.setOwner(owner.url);
    const { clock, keeper, listKinds } = keep(listed.url);
    await untilLater('it has renewed the lease ten times', clock, () => owner.count('PUT /leases/l1') >= 10);
    expect([listed.count('PUT'), listed.count('GET /health')]).toEqual([0, 5]);
    await keeper.stop();
    expect([owner.count('DELETE /leases/l1'), listed.count('DELETE')]).toEqual([1, 0]);
    expect(listKinds()).toEqual(['registered']);
  });

  it('renews the lease at the listed address while the owner cannot be reached', async () => {
    const listed = await startFake(renewed);
    listed.setOwner(`http://127.0.0.1:${await findFreePort()}`);
    const { clock, listKinds } = keep(listed.url);
    await untilLater('it has renewed the lease', clock, () => listed.count('PUT') >= 4);
    expect(listKinds()).toEqual(['registered']);
  });

  it('waits 0.5 s for a frozen owner', async () => {
    const [listed, owner] = [await startFake(renewed), await startFake(() => {})];
    listed.setOwner(owner.url);
    const { clock } = keep(listed.url);
    const startedAtMs = performance.now();
    await untilLater('it asks the owner', clock, () => owner.count('PUT') === 1);
    await until('it asks the listed address', () => listed.count('PUT') === 1);
    expect(performance.now() - startedAtMs).toBeGreaterThan(450);
    await untilLater('it has renewed the lease again', clock, () => listed.count('PUT') >= 4);
    expect(owner.count('PUT')).toBe(1);
  });

  it('ignores a server of another registry at the address of the owner', async () => {
    const stranger = (response: ServerResponse): void =>
      void response.setHeader('x-anyserve-registry', 'other').writeHead(404).end();
    const [listed, owner] = [await startFake(renewed), await startFake(stranger)];
    listed.setOwner(owner.url);
    const { clock, listKinds } = keep(listed.url);
    await untilLater('it has renewed the lease', clock, () => listed.count('PUT') >= 3);
    expect([owner.count('PUT'), listKinds()]).toEqual([1, ['registered']]);
  });

  it('reports once that independent servers answer at the listed address, and keeps its lease', async () => {
    const [listed, owner] = [await startFake(renewed, 'other'), await startFake(renewed)];
    listed.setOwner(owner.url);
    const { clock, listKinds, changes } = keep(listed.url);
    await untilLater('it has renewed the lease ten times', clock, () => owner.count('PUT') >= 10);
    expect(listKinds()).toEqual(['registered', 'misrouted']);
    expect(changes[1]).toEqual({ kind: 'misrouted', server: listed.url });
  });

  describe('whose owner does not respond to another server of the registry', () => {
    const silent = (response: ServerResponse): void =>
      void response.writeHead(503, { 'x-anyserve-owner': 'http://o', 'retry-after': '1' }).end('{"detail":"silent"}');

    const unknown = (response: ServerResponse): void => void response.writeHead(404).end('{"detail":"unknown lease"}');

    it('registers again 4 s after the last sign of life', async () => {
      const listed = await startFake(silent);
      const { clock, listKinds, changes } = keep(listed.url);
      await until('it is registered', () => listKinds().length === 1);
      const startedAtMs = clock.nowMs();
      await untilLater('it gives the lease up', clock, () => listKinds().includes('lost'));
      expect(clock.nowMs() - startedAtMs).toBeGreaterThanOrEqual(4000);
      expect(changes[1]).toMatchObject({
        error: { message: expect.stringContaining('the API server that granted the lease does not respond') },
      });
      await untilLater('it registers again', clock, () => listed.count('POST') === 2);
    });

    it.each([
      ['responds 503', silent, []],
      // A record can be too large for the store, so that only the owner knows the lease.
      ['responds 404, and only the owner has the registration', unknown, ['local']],
    ])('keeps its lease while the other %s, and the stream has heartbeats', async (_how, respond, kinds) => {
      const listed = await startFake(respond);
      const { clock, listKinds } = keep(listed.url);
      await until('it is registered', () => listKinds().length === 1);
      if (kinds.length > 0) listed.streams[0]?.write('data: {"status": "local", "reason": "why"}\n\n');
      await until('it knows that', () => listKinds().length === 1 + kinds.length);
      for (let n = 0; n < 12; n++) {
        const before = listed.count('PUT');
        listed.streams[0]?.write('data: {"status": "alive"}\n\n');
        await new Promise((resolve) => setTimeout(resolve, 20));
        await untilLater('it tries again', clock, () => listed.count('PUT') > before);
      }
      expect(listKinds()).toEqual(['registered', ...kinds]);
    });
  });
});
