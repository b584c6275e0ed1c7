import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { Fleet } from '../../../src/client/balancing/fleet.js';
import { createRandomPicker } from '../../../src/client/balancing/pickers/random.js';
import { ReplicaTable } from '../../../src/client/balancing/replica-table.js';
import { TableDiscovery } from '../../../src/client/balancing/table-discovery.js';
import { Cancellation } from '../../../src/client/cancellation.js';
import type {
  AttemptOutcome,
  Discovery,
  DiscoveryRequest,
  DiscoveryResult,
  Target,
} from '../../../src/client/discovery.js';
import { AnyserveError, type ErrorCode } from '../../../src/core/errors.js';
import { asEndpoint, asReplicaId, type ReplicaId } from '../../../src/core/ids.js';
import { toServer } from '../../support/api-client.js';
import { computeChiSquare } from '../../support/chi-square.js';
import { ManualClock } from '../../support/manual-clock.js';
import { listReplica, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';

const SERVER = toServer('http://a');

/** Creates a discovery over a table, and over API servers that respond as a test says. */
function createDiscovery(ask: (excluded: readonly ReplicaId[]) => DiscoveryResult | Error = () => new Error('unused')) {
  const clock = new ManualClock();
  const table = new ReplicaTable(clock);
  const calls: string[] = [];
  const fallback: Discovery = {
    hasOthers: true,
    lastTarget: undefined,
    async find({ excluded }) {
      calls.push('ask');
      const result = ask(excluded);
      if (result instanceof Error) throw result;
      return result;
    },
    findOther: () => undefined,
    beginAttempt: () => {
      throw new Error('the table records all attempts');
    },
    hasLeft: () => false,
    hasHealthyOther: () => false,
    isListed: async () => true,
    listReplicas: async () => [],
    close: () => void calls.push('close'),
  };
  const [startTable, stopTable] = [() => void calls.push('start'), () => void calls.push('stop')];
  const source = new Fleet({ table, startTable, stopTable, clock });
  const discovery = new TableDiscovery({
    source,
    fallback,
    picker: createRandomPicker(createSeededRandom(1)),
    clock,
  });
  const put = (id: string, state = 'ready'): void => {
    table.apply(SERVER, { kind: 'put', replica: listReplica(replica(id, {}), { state }) });
  };
  /** Fills the table with these replicas. */
  const load = (...ids: string[]): void => {
    table.connect(SERVER);
    table.apply(SERVER, { kind: 'snapshot', isWarming: false });
    for (const id of ids) put(id);
    table.apply(SERVER, { kind: 'synced' });
  };
  const find = async (...excluded: string[]): Promise<string | undefined> => {
    const found = await discovery.find(createRequest(...excluded));
    return found.kind === 'found' ? found.target.replicaId : undefined;
  };
  /** Makes an attempt with this outcome. */
  const attempt = (id: string, outcome: AttemptOutcome): void => discovery.beginAttempt(toTarget(id)).end(outcome);
  return { clock, table, discovery, calls, put, load, find, attempt };
}

const createRequest = (...excluded: string[]): DiscoveryRequest => ({
  excluded: excluded.map(asReplicaId),
  timeoutMs: 3000,
  cancellation: new Cancellation(),
});

const toTarget = (id: string): Target => ({ endpoint: `${id}.test:50051`, replicaId: asReplicaId(id) });
/** Creates the error of a replica that asks not to be called for a time. */
function createPushBackError(seconds: number): AnyserveError {
  const metadata = new Metadata();
  metadata.set('retry-after', String(seconds));
  const cause = Object.assign(new Error('busy'), { metadata });
  return new AnyserveError('resource_exhausted', 'busy', { cause });
}

const FAILURE = { kind: 'failure', error: new AnyserveError('unavailable', 'gone') } as const;

describe('TableDiscovery', () => {
  it('leaves out replicas at their limit only for callers that ask for it', async () => {
    const { discovery, table, load, attempt } = createDiscovery();
    load('r1', 'r2');
    const findFree = async (): Promise<DiscoveryResult> => discovery.find({ ...createRequest(), leavesOutFull: true });
    const report = (id: string, running: number, limit?: number): void => {
      const loads = [{ replicaId: asReplicaId(id), load: { running, waiting: 0, limit } }];
      table.apply(SERVER, { kind: 'load', loads });
    };
    report('r1', 5, 5);
    report('r2', 500);
    for (let n = 0; n < 20; n++) expect(await findFree()).toEqual({ kind: 'found', target: toTarget('r2') });
    report('r2', 7, 7);
    expect([await findFree(), discovery.isBusy]).toEqual([{ kind: 'full' }, true]);
    expect((await discovery.find(createRequest())).kind).toBe('found');
    attempt('r1', { kind: 'failure', error: createPushBackError(3) });
    attempt('r2', { kind: 'failure', error: createPushBackError(2) });
    expect([await findFree(), discovery.isBusy]).toEqual([
      { kind: 'pushed_back', untilMs: 2000, askedUntilMs: 2000 },
      true,
    ]);
  });

  it('asks the API servers while the table loads, and starts it once', async () => {
    const { calls, find, load } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    expect(await find()).toBe('r9');
    load('r1');
    expect(await find()).toBe('r1');
    expect(calls).toEqual(['start', 'ask']);
  });

  it('waits up to 500 ms for the table when the call has an affinity key', async () => {
    const { clock, discovery, calls, load } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    const findFor = async (affinity: string): Promise<string | undefined> => {
      const found = await discovery.find({ ...createRequest(), affinity });
      return found.kind === 'found' ? found.target.replicaId : undefined;
    };
    const first = findFor('a');
    clock.advance(500);
    expect(await first).toBe('r9');
    const second = findFor('a');
    load('r1');
    expect(await second).toBe('r1');
    expect(calls).toEqual(['start', 'ask']);
  });

  it('chooses each ready replica equally often, at once', async () => {
    const { discovery, load, put } = createDiscovery();
    load('r1', 'r2', 'r3', 'r4');
    put('r5', 'unready');
    put('r6', 'draining');
    put('r7', 'suspect');
    const counts = new Map<string, number>();
    for (let n = 0; n < 4000; n++) {
      const found = discovery.find(createRequest()) as DiscoveryResult & { readonly kind: 'found' };
      const id = found.target.replicaId as string;
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(['r1', 'r2', 'r3', 'r4']);
    // The 99.9th percentile with 3 degrees of freedom.
    expect(computeChiSquare([...counts.values()])).toBeLessThan(16.3);
  });

  it('chooses a suspect replica only if no ready one matches', async () => {
    const { load, put, find } = createDiscovery();
    load('r1');
    put('r2', 'suspect');
    expect(await find()).toBe('r1');
    put('r1', 'draining');
    expect(await find()).toBe('r2');
  });

  it('chooses an excluded replica only if no other matches', async () => {
    const { load, find } = createDiscovery();
    load('r1', 'r2');
    expect(await find('r1')).toBe('r2');
    expect(['r1', 'r2']).toContain(await find('r1', 'r2'));
  });

  it('asks the API servers for a replica that the table does not have yet when all others are excluded', async () => {
    const { load, find, calls } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    load('r1');
    expect(await find('r1')).toBe('r9');
    expect(await find()).toBe('r1');
    expect(calls).toEqual(['start', 'ask']);
  });

  it('ejects a replica after three failures in a row, for 30 s', async () => {
    const { clock, load, find, attempt } = createDiscovery();
    load('r1', 'r2');
    const countFirst = async (): Promise<number> => {
      let count = 0;
      for (let n = 0; n < 40; n++) if ((await find()) === 'r1') count++;
      return count;
    };
    attempt('r1', FAILURE);
    attempt('r1', FAILURE);
    attempt('r1', { kind: 'success' });
    attempt('r1', FAILURE);
    attempt('r1', FAILURE);
    clock.advance(1000);
    expect(await countFirst()).toBeGreaterThan(0);
    attempt('r1', FAILURE);
    expect(await countFirst()).toBe(0);
    clock.advance(29_999);
    expect(await countFirst()).toBe(0);
    clock.advance(1);
    expect(await countFirst()).toBeGreaterThan(0);
  });

  it('avoids a replica that refuses calls while others match: a busy one for 1 s, one that cannot serve them for longer', async () => {
    const { clock, load, find, attempt } = createDiscovery();
    load('r1', 'r2');
    const isAvoided = async (): Promise<boolean> => {
      for (let n = 0; n < 40; n++) if ((await find()) === 'r1') return false;
      return true;
    };
    const refuse = (code: ErrorCode): void => attempt('r1', { kind: 'failure', error: new AnyserveError(code, 'no') });
    for (let n = 0; n < 5; n++) refuse('resource_exhausted');
    expect(await isAvoided()).toBe(true);
    clock.advance(1000);
    expect(await isAvoided()).toBe(false);
    for (let n = 0; n < 3; n++) refuse('not_found');
    clock.advance(3999);
    expect(await isAvoided()).toBe(true);
    clock.advance(1);
    expect(await isAvoided()).toBe(false);
    refuse('not_found');
    attempt('r1', { kind: 'success' });
    expect(await isAvoided()).toBe(false);
    refuse('unimplemented');
    attempt('r2', { kind: 'failure', error: new AnyserveError('unimplemented', 'no') });
    expect(await isAvoided()).toBe(false);
  });

  it('does not call a replica that asked not to be called because an API server names it', async () => {
    const { load, find, attempt } = createDiscovery(() => ({ kind: 'found', target: toTarget('r1') }));
    load('r1', 'r2');
    attempt('r1', { kind: 'failure', error: createPushBackError(30) });
    expect(await find('r2')).toBe('r2');
  });

  it('ejects at most half of the replicas, and never the only one', async () => {
    const { load, find, attempt } = createDiscovery();
    load('r1', 'r2', 'r3', 'r4', 'r5');
    for (let n = 1; n <= 5; n++) for (let failure = 0; failure < 4; failure++) attempt(`r${n}`, FAILURE);
    const found = new Set<string | undefined>();
    for (let n = 0; n < 100; n++) found.add(await find());
    expect([...found].sort()).toEqual(['r3', 'r4', 'r5']);
    const lone = createDiscovery();
    lone.load('r1');
    for (let failure = 0; failure < 4; failure++) lone.attempt('r1', FAILURE);
    expect(await lone.find()).toBe('r1');
  });

  it('does not eject a replica because of invalid requests, or of calls that the caller left', async () => {
    const { load, find, attempt } = createDiscovery();
    load('r1', 'r2');
    const error = new AnyserveError('invalid_argument', 'no');
    for (let n = 0; n < 9; n++) {
      attempt('r1', { kind: 'failure', error });
      attempt('r2', { kind: 'abandoned' });
    }
    const found = new Set<string | undefined>();
    for (let n = 0; n < 40; n++) found.add(await find());
    expect(found.size).toBe(2);
  });

  it('does not call a replica that asked not to be called, and knows when the first of all can be called again', async () => {
    const { clock, discovery, load, find, attempt } = createDiscovery();
    load('r1', 'r2');
    const pushBack = (seconds: number): AttemptOutcome => ({ kind: 'failure', error: createPushBackError(seconds) });
    attempt('r1', pushBack(2));
    for (let n = 0; n < 20; n++) expect(await find()).toBe('r2');
    attempt('r2', pushBack(1));
    const first = { kind: 'pushed_back', untilMs: clock.nowMs() + 1000, askedUntilMs: clock.nowMs() + 1000 };
    expect(await discovery.find(createRequest())).toEqual(first);
    expect(await discovery.find(createRequest('r1'))).toEqual(first);
    clock.advance(1000);
    expect(await find()).toBe('r2');
  });

  it('ejects a replica for 60 s that asks not to be called for longer', async () => {
    const { clock, load, find, attempt } = createDiscovery();
    load('r1', 'r2');
    attempt('r1', { kind: 'failure', error: createPushBackError(3600) });
    for (let n = 0; n < 20; n++) expect(await find()).toBe('r2');
    clock.advance(60_000);
    const found = new Set<string | undefined>();
    for (let n = 0; n < 40; n++) found.add(await find());
    expect(found.size).toBe(2);
  });

  it('leaves out a replica with an HTTP URL if another can be called', async () => {
    const { table, load, put, find } = createDiscovery();
    load('r1');
    const http = { ...replica('r2', {}), endpoint: asEndpoint('http://r2.test/v1') };
    table.apply(SERVER, { kind: 'put', replica: listReplica(http) });
    for (let n = 0; n < 20; n++) expect(await find()).toBe('r1');
    put('r1', 'unready');
    expect(await find()).toBe('r2');
  });

  it('asks the API servers before the result is that no replica matches', async () => {
    const { load, find } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    load();
    expect(await find()).toBe('r9');
  });

  it('has no match when the table is empty and no API server responds', async () => {
    const { discovery, load } = createDiscovery(() => new Error('unreachable'));
    load();
    const found = await discovery.find(createRequest());
    expect(found).toEqual({ kind: 'none', isWarming: false });
  });

  it('fails when no API server responds before the table is loaded', async () => {
    const { find } = createDiscovery(() => new Error('unreachable'));
    await expect(find()).rejects.toThrow('unreachable');
  });

  it('goes on with the table while no API server is connected', async () => {
    const { clock, table, load, find } = createDiscovery(() => new Error('unreachable'));
    load('r1');
    table.disconnect(SERVER);
    clock.advance(3_600_000);
    expect(await find()).toBe('r1');
  });

  it('knows whether a target is still listed', async () => {
    const { discovery, table, load, put } = createDiscovery();
    load('r1', 'r2');
    put('r2', 'suspect');
    const { signal } = new AbortController();
    const isListed = (id: string) => discovery.isListed(toTarget(id), signal);
    expect([await isListed('r1'), await isListed('r2'), await isListed('r3')]).toEqual([true, false, false]);
    table.apply(SERVER, { kind: 'removed', replicaId: asReplicaId('r1'), reason: 'closed' });
    expect(await isListed('r1')).toBe(false);
  });

  it('has the target of the last response, until that fails', () => {
    const { discovery, attempt } = createDiscovery();
    expect(discovery.lastTarget).toBeUndefined();
    discovery.beginAttempt(toTarget('r1')).recordMessage(5);
    expect(discovery.lastTarget?.replicaId).toBe('r1');
    attempt('r2', { kind: 'success' });
    expect(discovery.lastTarget?.replicaId).toBe('r2');
    attempt('r2', FAILURE);
    expect(discovery.lastTarget).toBeUndefined();
  });

  it('lists the replicas of the table, with what it has observed of them', async () => {
    const { clock, discovery, calls, load, attempt } = createDiscovery();
    const listing = discovery.listReplicas();
    expect(calls).toEqual(['start']);
    load('r1', 'r2');
    const row = {
      state: 'ready',
      isCordoned: false,
      weight: 1,
      capabilities: [{}],
      ejectedForMs: 0,
      pushedBackForMs: 0,
    };
    expect(await listing).toEqual([
      { id: 'r1', endpoint: 'r1.test:50051', ...row, callsInProgress: 0, latencyMs: undefined },
      { id: 'r2', endpoint: 'r2.test:50051', ...row, callsInProgress: 0, latencyMs: undefined },
    ]);
    discovery.beginAttempt(toTarget('r1')).recordMessage(20);
    for (let failure = 0; failure < 3; failure++) attempt('r2', FAILURE);
    clock.advance(10_000);
    expect(await discovery.listReplicas()).toMatchObject([
      { id: 'r1', callsInProgress: 1, latencyMs: 20, ejectedForMs: 0 },
      { id: 'r2', callsInProgress: 0, ejectedForMs: 20_000 },
    ]);
  });

  it('knows the newest load of each replica, from responses and from API servers', async () => {
    const { clock, table, discovery, load } = createDiscovery();
    const listLoads = async () =>
      (await discovery.listReplicas()).map(({ id, load: known, loadAgeMs }) => `${id} ${known?.running} ${loadAgeMs}`);
    const report = (id: string, running: number): void => {
      const loads = [{ replicaId: asReplicaId(id), load: { running, waiting: 0 } }];
      table.apply(SERVER, { kind: 'load', loads });
    };
    load('r1', 'r2');
    report('r1', 1);
    report('unknown', 1);
    expect(await listLoads()).toEqual(['r1 1 5000', 'r2 undefined undefined']);
    const record = discovery.beginAttempt(toTarget('r1'));
    record.recordLoad({ running: 2, waiting: 0 });
    clock.advance(4000);
    report('r1', 3);
    expect(await listLoads()).toEqual(['r1 2 4000', 'r2 undefined undefined']);
    clock.advance(1000);
    report('r1', 4);
    expect(await listLoads()).toEqual(['r1 4 5000', 'r2 undefined undefined']);
  });

  it('takes loads from the rows of a list, but not from rows that a server can repeat', async () => {
    const { table, discovery, load } = createDiscovery();
    const put = (id: string, running: number): void => {
      const listed = listReplica(replica(id, {}), { load: { running, waiting: 0, limit: undefined } });
      table.apply(SERVER, { kind: 'put', replica: listed });
    };
    load();
    table.apply(SERVER, { kind: 'snapshot', isWarming: false });
    put('r1', 1);
    table.apply(SERVER, { kind: 'synced' });
    put('r1', 2);
    put('r2', 3);
    const replicas = await discovery.listReplicas();
    expect(replicas.map(({ load: known }) => known?.running)).toEqual([1, undefined]);
  });

  it('cannot list replicas when no API server sends a list within 3 s', async () => {
    const { clock, discovery } = createDiscovery();
    const listing = discovery.listReplicas();
    clock.advance(3000);
    await expect(listing).rejects.toMatchObject({ code: 'server_unreachable' });
  });

  it('stops the table when it is closed', () => {
    const { discovery, calls } = createDiscovery();
    discovery.close();
    expect(calls).toEqual(['stop', 'close']);
  });
});
