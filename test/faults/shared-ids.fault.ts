import { afterEach, describe, expect, it } from 'vitest';
import type { OpenLease } from '../../src/client/lease-client.js';
import { clock, ids } from '../../src/system.js';
import { createApiClient } from '../support/api-client.js';
import { stopAll } from '../support/binary.js';
import { measureTimeUntil, readRemovals, startCurlRegistrant } from '../support/fleet.js';
import { findOldRegistrations, findSelfTakeovers, findUnsettledIds } from '../support/instance-checks.js';
import { RunRecorder } from '../support/recorded-run.js';
import type { RecordedEvent, Recording } from '../support/recording.js';
import { replica } from '../support/replicas.js';
import { keepRegistered, type RestartableServer, startServers } from '../support/restartable-server.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Starts a recorder, which ends with the test. */
function startRecorder(): RunRecorder {
  const recorder = new RunRecorder();
  cleanups.push(() => recorder.stop());
  return recorder;
}

/** Expects that no registration replaced a newer one of its process, and that no process superseded itself. */
function expectOrder(recording: Recording): void {
  const violations = [...findOldRegistrations(recording), ...findSelfTakeovers(recording)];
  expect(violations.slice(0, 10), `${violations.length} violations`).toEqual([]);
}

function countEvents({ events }: Recording, kind: RecordedEvent['kind']): number {
  return events.filter((event) => event.kind === kind).length;
}

describe('two independent API servers', () => {
  it('end with the same process at both after 100 races of two processes for one id', async () => {
    const recorder = startRecorder();
    const servers = await startServers(2, recorder);
    const urls = servers.map(({ url }) => url);
    const apis = [createApiClient(urls), createApiClient([...urls].reverse())];
    cleanups.push(() => apis.forEach((api) => void api.close()));
    for (let round = 0; round < 10; round++) {
      for (let n = 0; n < 10; n++) {
        const raced = replica(`race${round}-${n}`, { type: 'race' });
        const keepers = apis.map((api) => keepRegistered(api, raced, recorder));
        cleanups.push(() => Promise.all(keepers.map((keeper) => keeper.stop())));
      }
    }
    const listInstances = async (server: RestartableServer): Promise<Map<string, string>> => {
      const { body } = await server.process.fetchPath('/replicas');
      const { replicas } = JSON.parse(body) as {
        replicas: { replica_id: string; instance?: { id: string } }[];
      };
      return new Map(replicas.map(({ replica_id, instance }) => [replica_id, instance?.id ?? '']));
    };
    await measureTimeUntil('both servers have the same process for all 100 ids', 30_000, async () => {
      const [a = new Map(), b = new Map()] = await Promise.all(servers.map(listInstances));
      return a.size === 100 && b.size === 100 && [...a].every(([id, instance]) => b.get(id) === instance);
    });
    const quietAtMs = recorder.nowMs;
    // A process that gave an id up looks it up every 2 s, and takes it back when it was not listed for 5 s.
    await sleep(10_000);
    const recording = await recorder.stop();
    console.info(`measured: 100 races at two servers: ${countEvents(recording, 'superseded')} takeovers`);
    expect(countEvents(recording, 'superseded')).toBeGreaterThan(0);
    expectOrder(recording);
    expect(findUnsettledIds(recording, quietAtMs)).toEqual([]);
    const late = recording.events.filter(({ kind, atMs }) => kind === 'superseded' && atMs > quietAtMs + 3000);
    expect(late).toEqual([]);
  });

  it('keep a replica that registers again just when its older connections close, 1,000 times', async () => {
    const recorder = startRecorder();
    const servers = await startServers(2, recorder);
    const api = createApiClient(servers.map(({ url }) => url));
    cleanups.push(() => api.close());
    const capabilities = replica('r1', { type: 'chat' });
    const terms = { ttlMs: 9000, state: 'ready' } as const;
    const startedMs = clock.epochMs();
    const instanceId = ids.createInstanceId();
    const { signal } = new AbortController();
    for (const server of await api.servers.get()) {
      let seq = 0;
      const register = (number: number): Promise<OpenLease> => {
        const instance = { id: instanceId, startedMs, seq: number };
        return api.leases.open(server, capabilities, { ...terms, instance }, signal);
      };
      let previous = await register(++seq);
      for (let n = 0; n < 1000; n++) {
        const older = previous;
        const opening = register(++seq);
        // The older connection closes before the registration arrives, or right after the response.
        if (n % 2 === 0) older.body.destroy();
        previous = await opening;
        older.body.destroy();
        // An older registration that was delayed arrives last.
        if (n % 100 === 99) await register(seq - 1).catch(() => {});
      }
      cleanups.push(() => previous.body.destroy());
    }
    for (const { process } of servers) expect(await process.fetchRoute()).toBe('r1');
    const recording = await recorder.stop();
    for (const { process } of servers) expect(await process.fetchRoute()).toBe('r1');
    expect(countEvents(recording, 'put')).toBeGreaterThan(1000);
    expectOrder(recording);
  });
});

describe('a registrant that shows no instance', () => {
  it('takes an id over at the server where it registers, and the other process gives it up at all servers', async () => {
    const servers = await startServers(2);
    const [a, b] = servers as [RestartableServer, RestartableServer];
    const api = createApiClient([a.url, b.url]);
    const keeper = keepRegistered(api, replica('r1', { type: 'chat' }));
    cleanups.push(
      () => api.close(),
      () => keeper.stop(),
    );
    await until('both list it', async () => (await a.countReplicas()) === 1 && (await b.countReplicas()) === 1);
    const curl = await startCurlRegistrant(a.url, 'r1');
    await until('the other server has removed it', async () => (await b.countReplicas()) === 0);
    await until('the takeover is logged', () => readRemovals(a.process).at(-1)?.includes('superseded') === true);
    await curl.stop();
    await until('it is back at both', async () => (await a.countReplicas()) === 1 && (await b.countReplicas()) === 1);
  });
});
