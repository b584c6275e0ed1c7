import { describe, expect, it } from 'vitest';
import { Fleet, FleetView } from '../../../src/client/balancing/fleet.js';
import { ReplicaTable } from '../../../src/client/balancing/replica-table.js';
import { asReplicaId } from '../../../src/core/ids.js';
import { toServer } from '../../support/api-client.js';
import { ManualClock } from '../../support/manual-clock.js';
import { listReplica, replica } from '../../support/replicas.js';

const SERVER = toServer('http://a');

function createFleet() {
  const clock = new ManualClock();
  const table = new ReplicaTable(clock);
  const fleet = new Fleet({ table, startTable: () => {}, stopTable: () => {}, clock });
  table.connect(SERVER);
  const put = (id: string): void => {
    table.apply(SERVER, { kind: 'put', replica: listReplica(replica(id, {}), { state: 'ready' }) });
  };
  const remove = (id: string): void => {
    table.apply(SERVER, { kind: 'removed', replicaId: asReplicaId(id), reason: 'closed' });
  };
  return { fleet, put, remove };
}

describe('a view of a fleet', () => {
  it('has the replicas that its condition selects, after each change', () => {
    const { fleet, put, remove } = createFleet();
    const view = new FleetView(fleet, (replicas) => [...replicas].filter(([id]) => id.startsWith('a')));
    put('a1');
    put('b1');
    expect([...view.replicas.keys()]).toEqual(['a1']);
    const before = view.replicas;
    expect(view.replicas).toBe(before);
    put('a2');
    expect([...view.replicas.keys()]).toEqual(['a1', 'a2']);
    remove('a1');
    expect([...view.replicas.keys()]).toEqual(['a2']);
  });

  it('shares the observations of its fleet, which are forgotten when a replica has left the fleet', () => {
    const { fleet, put, remove } = createFleet();
    put('a1');
    put('b1');
    const view = new FleetView(fleet, (replicas) => [...replicas].filter(([id]) => id.startsWith('a')));
    const stats = fleet.stats.get('b1.test:50051');
    expect(view.replicas.size).toBe(1);
    expect(view.stats.get('b1.test:50051')).toBe(stats);
    remove('b1');
    expect(view.replicas.size).toBe(1);
    expect(view.stats.get('b1.test:50051')).not.toBe(stats);
  });
});
