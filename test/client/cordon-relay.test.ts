import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { CordonRelay } from '../../src/client/cordon-relay.js';
import { LeaseKeeper } from '../../src/client/lease-keeper.js';
import type { Cordon } from '../../src/core/cordon.js';
import { asReplicaId } from '../../src/core/ids.js';
import { ids } from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { findFreePort } from '../support/free-port.js';
import { ManualClock } from '../support/manual-clock.js';
import { replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';

const R1 = asReplicaId('r1');
const CORDON = { cordoned: true, reason: 'bad GPU' };
const UNCORDON = { cordoned: false, reason: '' };

/** Interval of the renewals, in ms: a third of the TTL. */
const RENEWAL_MS = 3000;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(port = 0): Promise<TestApiServer> {
  const server = await startTestApiServer({ port });
  cleanups.push(() => server.close());
  return server;
}

/** Keeps r1 registered with API servers. Time stands still until the clock is advanced. */
function keepRegistered(...servers: readonly { readonly url: string }[]): ManualClock {
  const api = createApiClient(servers.map(({ url }) => url));
  const clock = new ManualClock();
  const common = { api, clock, instanceId: ids.createInstanceId(), random: createConstantRandom(0.5) };
  const keeper = new LeaseKeeper({ ...common, replica: replica('r1', { type: 'chat' }) });
  void keeper.run();
  cleanups.push(
    () => api.close(),
    () => keeper.stop(),
  );
  return clock;
}

async function startTwo() {
  const [a, b] = [await startServer(), await startServer(await findFreePort())];
  const clock = keepRegistered(a, b);
  await until('r1 is registered with both', () => [a, b].every(isRegistered));
  await waitForSchedule(clock);
  return { a, b, clock };
}

/** Waits until the next renewals at both servers are scheduled. If time passes before, they come later. */
function waitForSchedule(clock: ManualClock): Promise<void> {
  return until('both renewals are scheduled', () => clock.pending().filter((ms) => ms === RENEWAL_MS).length >= 2);
}

function isRegistered({ registry }: TestApiServer): boolean {
  return registry.find(R1) !== undefined;
}

function isRoutable({ registry }: TestApiServer): boolean {
  return registry.replicas().length > 0;
}

function findCordon({ registry }: TestApiServer): Cordon | undefined {
  return registry.cordons.find(R1);
}

describe('a keeper with two servers', () => {
  it('repeats a cordon and an uncordon of one server at the other within one renewal', async () => {
    const { a, b, clock } = await startTwo();
    const set = await a.registry.cordons.set(R1, CORDON);
    clock.advance(RENEWAL_MS);
    await until('it is cordoned at the other server', () => findCordon(b) !== undefined);
    expect(findCordon(b)).toEqual(set);
    expect([a, b].map(isRoutable)).toEqual([false, false]);
    await waitForSchedule(clock);
    await b.registry.cordons.set(R1, UNCORDON);
    clock.advance(RENEWAL_MS);
    await until('it is uncordoned at the first server', () => isRoutable(a));
    expect(findCordon(a)).toEqual(findCordon(b));
  });

  it.each([UNCORDON, { ...CORDON, reason: 'other' }])(
    'makes servers converge on one cordon when the other was set to %o at about the same time',
    async (other) => {
      const { a, b, clock } = await startTwo();
      await Promise.all([a.registry.cordons.set(R1, CORDON), b.registry.cordons.set(R1, other)]);
      const both = [findCordon(a), findCordon(b)];
      clock.advance(RENEWAL_MS);
      await until('both have one cordon', () => JSON.stringify(findCordon(a)) === JSON.stringify(findCordon(b)));
      expect(both).toContainEqual(findCordon(a));
      expect(isRoutable(a)).toBe(isRoutable(b));
    },
  );

  it('repeats the cordon when it registers with a restarted server', async () => {
    const { a, b, clock } = await startTwo();
    const set = await a.registry.cordons.set(R1, CORDON);
    clock.advance(RENEWAL_MS);
    await until('it is cordoned at the other server', () => findCordon(b) !== undefined);
    await b.close();
    const restarted = await startServer(b.port);
    await until('it is registered with the restarted server', () => {
      clock.advance(100);
      return isRegistered(restarted);
    });
    expect(findCordon(restarted)).toEqual(set);
    expect(isRoutable(restarted)).toBe(false);
  });

  it('sends a server that ignores cordons no more renewals than any other', async () => {
    const a = await startServer();
    const bodies: string[] = [];
    const old = createServer((request, response) => {
      if (request.method === 'GET') return void response.end();
      if (request.method === 'POST') {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'x-anyserve-lease': 'l1' });
        return void response.write('data: {"status": "registered", "replica_id": "r1"}\n\n');
      }
      let body = '';
      request.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      request.on('end', () => {
        bodies.push(body);
        response.end('{"status":"renewed"}');
      });
    });
    await new Promise<void>((resolve) => old.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => {
      old.closeAllConnections();
      old.close();
    });
    const clock = keepRegistered(a, { url: `http://127.0.0.1:${(old.address() as AddressInfo).port}` });
    await waitForSchedule(clock);
    await a.registry.cordons.set(R1, CORDON);
    for (let second = 0; second < 60; second++) {
      clock.advance(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until('some renewals have the cordon', () => bodies.filter((body) => body.includes('bad GPU')).length > 2);
    expect(bodies.length).toBeLessThanOrEqual(60_000 / RENEWAL_MS + 1);
  });
});

describe('the cordon for a server', () => {
  const [server, other] = [{}, {}];
  const at = (atMs: number): Cordon => ({ ...CORDON, atMs });

  it('is the newest one until the server has reported it, and again when it has lost it', () => {
    let news = 0;
    const relay = new CordonRelay(() => news++);
    relay.record(server, undefined);
    expect([relay.findUnknownTo(server), relay.newest, news]).toEqual([undefined, undefined, 0]);
    relay.record(server, at(2));
    relay.record(other, at(1));
    expect([relay.findUnknownTo(server), relay.findUnknownTo(other), news]).toEqual([undefined, at(2), 1]);
    relay.record(other, at(2));
    expect([relay.findUnknownTo(other), news]).toEqual([undefined, 1]);
    relay.record(other, undefined);
    expect([relay.findUnknownTo(other), relay.newest]).toEqual([at(2), at(2)]);
  });
});
