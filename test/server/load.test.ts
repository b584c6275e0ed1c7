import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseReplicaList } from '../../src/api/replica-list-json.js';
import type { LeaseId } from '../../src/core/ids.js';
import { App, keepRegistered, startWorker } from '../../src/index.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { serializedReplica } from '../support/replicas.js';
import { until } from '../support/until.js';
import { openWatch, type RawWatch } from '../support/watch-client.js';

let server: TestApiServer;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  server = await startTestApiServer();
  cleanups.push(() => server.close());
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const register = (id: string): Promise<LeaseId> =>
  server.registry.register(serializedReplica(id, { type: 'chat' }), { host: 'h', ttlMs: 60_000 }, () => {});

const renew = (lease: LeaseId, body: string) => fetch(`${server.url}/leases/${lease}`, { method: 'PUT', body });

/** Returns the load of a replica in the list. */
async function findLoad(id: string): Promise<unknown> {
  const listed = parseReplicaList(await (await fetch(`${server.url}/replicas`)).text());
  return listed?.find(({ replica }) => replica.id === id)?.load;
}

/** Returns the loads that a watch has received: `r1 3/0`. */
function listLoads(watch: RawWatch): string[][] {
  type Loads = { replica_id: string; running: number; waiting: number }[];
  return watch.events().flatMap(({ event, data }) => {
    if (event !== 'load') return [];
    return [(data['loads'] as Loads).map(({ replica_id: id, running, waiting }) => `${id} ${running}/${waiting}`)];
  });
}

describe('the load of a replica', () => {
  it('is in the list of replicas, and no change of the registry', async () => {
    const lease = await register('r1');
    await register('r2');
    const { revision } = server.registry.changes;
    const registry = await (await fetch(`${server.url}/registry`)).text();
    const response = await renew(lease, '{"state":"ready","load":{"running":3,"waiting":1,"limit":4}}');
    expect([response.status, await response.text()]).toEqual([200, '{"status":"renewed"}']);
    expect(await findLoad('r1')).toEqual({ running: 3, waiting: 1, limit: 4 });
    expect(await findLoad('r2')).toBeUndefined();
    expect((await renew(lease, '{"state":"ready"}')).status).toBe(200);
    expect(await findLoad('r1')).toEqual({ running: 3, waiting: 1, limit: 4 });
    expect(server.registry.changes.revision).toBe(revision);
    expect(await (await fetch(`${server.url}/registry`)).text()).toBe(registry);
  });

  it('is refused with the place of the error if it is invalid, and then changes nothing', async () => {
    const lease = await register('r1');
    const response = await renew(lease, '{"state":"unready","load":{"running":-3,"waiting":1}}');
    expect([response.status, await response.json()]).toMatchObject([
      422,
      { detail: [{ type: 'value_error', loc: ['body', 'load', 'running'], input: -3 }] },
    ]);
    expect(server.registry.replicas()).toHaveLength(1);
    expect(await findLoad('r1')).toBeUndefined();
  });

  it('ends with its lease', async () => {
    const lease = await register('r1');
    await renew(lease, '{"load":{"running":3,"waiting":1}}');
    await register('r1');
    expect(await findLoad('r1')).toBeUndefined();
    server.registry.loads.record(lease, { running: 1, waiting: 0 });
    expect(await findLoad('r1')).toBeUndefined();
  });
});

it('is sent to the streams of its matches, and is in the rows of a new stream', async () => {
  const leases = await Promise.all(['r1', 'r2'].map(register));
  const watches = ['', '?type=chat', '?type=other'].map((search) => openWatch(server.port, { search }));
  cleanups.push(() => watches.forEach(({ socket }) => void socket.destroy()));
  await until('all are synced', () => watches.every((watch) => watch.summarize().includes('synced')));
  await renew(leases[0] as LeaseId, '{"state":"ready","load":{"running":3,"waiting":1,"limit":4}}');
  await until('it is sent', () => watches.slice(0, 2).every((watch) => listLoads(watch).length > 0));
  await renew(leases[1] as LeaseId, '{"state":"unready"}');
  await until('the change is sent', () => watches[0]?.summarize().at(-1) === 'put r2 unready');
  expect(watches.map(listLoads)).toEqual([[['r1 3/1']], [['r1 3/1']], []]);
  expect(watches[0]?.events().find(({ event }) => event === 'load')?.id).toBeUndefined();
  // Streams share a snapshot for 2 s.
  await until('a new stream has it', async () => {
    const late = openWatch(server.port);
    cleanups.push(() => late.socket.destroy());
    await until('it is synced', () => late.summarize().includes('synced'));
    return JSON.stringify(late.events()[1]?.data['load']) === '{"running":3,"waiting":1,"limit":4}';
  });
});

it('is reported by a worker, and by a program that keeps a model server registered', async () => {
  const app = new App().capability({ type: 'chat' }, () => ({ ok: [true] }));
  const worker = await startWorker({ backends: [app], id: 'w1', port: 0, maxConcurrency: 5, servers: [server.url] });
  const load = { running: 2, waiting: 7, limit: 8 };
  const place = { server: server.url, id: 'k1', endpoint: 'k1.test:1' };
  const kept = await keepRegistered({ ...place, capabilities: [{ type: 'chat' }], getLoad: () => load });
  cleanups.push(
    () => worker.stop(),
    () => kept.stop(),
  );
  const findLoads = async () => [await findLoad('w1'), await findLoad('k1')];
  await until('both have reported it', async () => !(await findLoads()).includes(undefined));
  expect(await findLoads()).toEqual([{ running: 0, waiting: 0, limit: 5 }, load]);
});
