import { beforeEach, expect, it } from 'vitest';
import { Fleet, FleetView } from '../../../src/client/balancing/fleet.js';
import { createRandomPicker } from '../../../src/client/balancing/pickers/random.js';
import { ReplicaTable } from '../../../src/client/balancing/replica-table.js';
import { TableDiscovery } from '../../../src/client/balancing/table-discovery.js';
import { NotStartedError } from '../../../src/client/connection-errors.js';
import { AnyserveError } from '../../../src/core/errors.js';
import { asReplicaId } from '../../../src/core/ids.js';
import { toServer } from '../../support/api-client.js';
import { ManualClock } from '../../support/manual-clock.js';
import { listReplica, replica } from '../../support/replicas.js';
import { createSeededRandom } from '../../support/seeded-random.js';

const SERVER = toServer('http://a');
const UNAVAILABLE = new AnyserveError('unavailable', 'no');
const REFUSED = new NotStartedError('unavailable', 'nothing listens there');

let clock: ManualClock;
let fleet: Fleet;
/** The views of the same two replicas, r1 and r2, for the calls of two models. */
let one: TableDiscovery | undefined;
let other: TableDiscovery | undefined;

beforeEach(() => {
  clock = new ManualClock();
  const table = new ReplicaTable(clock);
  fleet = new Fleet({ table, startTable: () => {}, stopTable: () => {}, clock });
  table.connect(SERVER);
  table.apply(SERVER, { kind: 'snapshot', isWarming: false });
  for (const id of ['r1', 'r2']) table.apply(SERVER, { kind: 'put', replica: listReplica(replica(id, {})) });
  table.apply(SERVER, { kind: 'synced' });
  [one, other] = ['m', 'n'].map((model) => {
    const source = new FleetView(fleet, (replicas) => replicas, model);
    return new TableDiscovery({ source, picker: createRandomPicker(createSeededRandom(1)), clock });
  });
});

/** Returns the ids of the replicas that calls of a model go to. */
function listUsed(discovery: TableDiscovery | undefined): string[] {
  const used = Array.from({ length: 40 }, () => discovery?.findOther({ excluded: [] })?.replicaId ?? 'none');
  return [...new Set(used)].sort();
}

function fail(discovery: TableDiscovery | undefined, error: AnyserveError, times: number): void {
  const target = { replicaId: asReplicaId('r1'), endpoint: 'r1.test:50051' };
  for (let n = 0; n < times; n++) discovery?.beginAttempt(target).end({ kind: 'failure', error });
}

it('a replica that fails the calls of one model is ejected for that model only', async () => {
  fail(one, UNAVAILABLE, 3);
  expect([listUsed(one), fleet.stats.ejections]).toEqual([['r2'], 1]);
  clock.advance(2000);
  expect(listUsed(one)).toEqual(['r2']);
  expect(listUsed(other)).toEqual(['r1', 'r2']);
  const target = { replicaId: asReplicaId('r2'), endpoint: 'r2.test:50051' };
  expect([one, other].map((discovery) => discovery?.hasHealthyOther(target))).toEqual([false, true]);
  const listed = await other?.listReplicas();
  expect(listed?.map(({ ejectedForMs }) => ejectedForMs)).toEqual([28_000, 0]);
});

it('a replica that does not have one model is avoided for that model only', () => {
  fail(one, new AnyserveError('not_found', 'no such model'), 3);
  expect([one, other].map(listUsed)).toEqual([['r2'], ['r1', 'r2']]);
});

it('a replica that cannot be connected to, is busy, or asks to wait, gets no calls of any model', () => {
  fail(one, new AnyserveError('resource_exhausted', 'busy'), 1);
  expect([one, other].map(listUsed)).toEqual([['r2'], ['r2']]);
  clock.advance(1000);
  expect([one, other].map(listUsed)).toEqual([
    ['r1', 'r2'],
    ['r1', 'r2'],
  ]);
  fail(one, REFUSED, 2);
  fail(other, REFUSED, 1);
  clock.advance(2000);
  expect([one, other].map(listUsed)).toEqual([['r2'], ['r2']]);
});
