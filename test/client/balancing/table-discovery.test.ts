import { describe, expect, it } from 'vitest';
import { ReplicaTable } from '../../../src/client/balancing/replica-table.js';
import { TableDiscovery } from '../../../src/client/balancing/table-discovery.js';
import { Cancellation } from '../../../src/client/cancellation.js';
import type { Discovery, DiscoveryResult, Target } from '../../../src/client/discovery.js';
import { AnyserveError } from '../../../src/core/errors.js';
import { asReplicaId, type ReplicaId } from '../../../src/core/ids.js';
import { toServer } from '../../support/api-client.js';
import { computeChiSquare } from '../../support/chi-square.js';
import { ManualClock } from '../../support/manual-clock.js';
import { replica } from '../../support/replicas.js';
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
    async find(excluded) {
      calls.push('ask');
      const result = ask(excluded);
      if (result instanceof Error) throw result;
      return result;
    },
    reportMessage: () => {},
    reportOutcome: () => {},
    isListed: async () => true,
    close: () => void calls.push('close'),
  };
  const discovery = new TableDiscovery({
    table,
    startTable: () => void calls.push('start'),
    stopTable: () => void calls.push('stop'),
    fallback,
    clock,
    random: createSeededRandom(1),
  });
  const put = (id: string, state = 'ready'): void => {
    const row = { state, stateAgeMs: 0, lastSeenAgeMs: 0, instance: undefined, cordon: undefined, toText: () => '' };
    table.apply(SERVER, { kind: 'put', replica: { replica: replica(id, {}), ...row } });
  };
  /** Fills the table with these replicas. */
  const load = (...ids: string[]): void => {
    table.connect(SERVER);
    table.apply(SERVER, { kind: 'snapshot', isWarming: false });
    for (const id of ids) put(id);
    table.apply(SERVER, { kind: 'synced' });
  };
  const find = async (...excluded: string[]): Promise<string | undefined> => {
    const found = await discovery.find(excluded.map(asReplicaId), 3000, new Cancellation());
    return found.kind === 'found' ? found.target.replicaId : undefined;
  };
  return { clock, table, discovery, calls, put, load, find };
}

const toTarget = (id: string): Target => ({ endpoint: `${id}.test:50051`, replicaId: asReplicaId(id) });
const FAILURE = { kind: 'failure', error: new AnyserveError('unavailable', 'gone') } as const;

describe('TableDiscovery', () => {
  it('asks the API servers while the table loads, and starts it once', async () => {
    const { calls, find, load } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    expect(await find()).toBe('r9');
    load('r1');
    expect(await find()).toBe('r1');
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
      const found = discovery.find([], 3000, new Cancellation()) as DiscoveryResult & { readonly kind: 'found' };
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

  it('avoids a replica for 5 s after a failed attempt, or until it succeeds', async () => {
    const { clock, discovery, load, find } = createDiscovery();
    load('r1', 'r2');
    const countFirst = async (): Promise<number> => {
      let count = 0;
      for (let n = 0; n < 40; n++) if ((await find()) === 'r1') count++;
      return count;
    };
    discovery.reportOutcome(toTarget('r1'), FAILURE);
    expect(await countFirst()).toBe(0);
    clock.advance(5000);
    expect(await countFirst()).toBeGreaterThan(0);
    discovery.reportOutcome(toTarget('r1'), FAILURE);
    discovery.reportOutcome(toTarget('r1'), { kind: 'success', firstByteMs: 1 });
    expect(await countFirst()).toBeGreaterThan(0);
  });

  it('does not avoid a replica because of an invalid request', async () => {
    const { discovery, load, find } = createDiscovery();
    load('r1');
    const error = new AnyserveError('invalid_argument', 'no');
    discovery.reportOutcome(toTarget('r1'), { kind: 'failure', error });
    expect(await find()).toBe('r1');
  });

  it('asks the API servers before the result is that no replica matches', async () => {
    const { load, find } = createDiscovery(() => ({ kind: 'found', target: toTarget('r9') }));
    load();
    expect(await find()).toBe('r9');
  });

  it('has no match when the table is empty and no API server responds', async () => {
    const { discovery, load } = createDiscovery(() => new Error('unreachable'));
    load();
    const found = await discovery.find([], 3000, new Cancellation());
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
    const { discovery } = createDiscovery();
    expect(discovery.lastTarget).toBeUndefined();
    discovery.reportMessage(toTarget('r1'));
    expect(discovery.lastTarget?.replicaId).toBe('r1');
    discovery.reportOutcome(toTarget('r2'), { kind: 'success', firstByteMs: 1 });
    expect(discovery.lastTarget?.replicaId).toBe('r2');
    discovery.reportOutcome(toTarget('r2'), FAILURE);
    expect(discovery.lastTarget).toBeUndefined();
  });

  it('stops the table when it is closed', () => {
    const { discovery, calls } = createDiscovery();
    discovery.close();
    expect(calls).toEqual(['stop', 'close']);
  });
});
