import { describe, expect, it } from 'vitest';
import { asReplicaId } from '../../../src/core/ids.js';
import { type FleetRow, formatOffer, parseFleetRow } from '../../../src/server/dashboard/fleet-row.js';
import { LiveFleet } from '../../../src/server/dashboard/live-fleet.js';
import { fleetRow } from '../../support/fleet-rows.js';

const QWEN = { model: 'qwen2', type: 'chat' };
const BGE = { model: 'bge', type: 'embedding' };

/** A fleet at a time that the test sets. */
function createFleet(...rows: readonly FleetRow[]) {
  const time = { nowMs: 0 };
  const fleet = new LiveFleet(() => time.nowMs);
  fleet.apply({ kind: 'snapshot', isWarming: false });
  for (const row of rows) fleet.apply({ kind: 'put', row });
  fleet.apply({ kind: 'synced' });
  return { fleet, time };
}

const listLost = (fleet: LiveFleet): string[] =>
  fleet.listLostOffers().map(({ offer, replicaId, reason }) => `${formatOffer(offer)}: ${replicaId} ${reason}`);

const listOffers = (fleet: LiveFleet): string[] =>
  fleet.totals.offers.map(({ offer, rows, ready }) => `${formatOffer(offer)} ${ready}/${rows.size}`);

describe('a row', () => {
  it('has times in ms, and its host', () => {
    const row = fleetRow('r1', [QWEN]);
    expect([row.sinceMs, row.seenMs, row.ttlMs, row.host]).toEqual([1_000_000, 1_005_000, 15_000, '10.0.0.1']);
    expect(fleetRow('r1', [], { peer: null, endpoint: 'http://10.1.1.1:80/v1' }).host).toBe('10.1.1.1');
    expect(fleetRow('r1', [], { peer: null, endpoint: '[::1]:50051' }).host).toBe('[::1]');
    expect(fleetRow('r1', [], { peer: null, endpoint: 'dns:///a.test:1' }).host).toBe('a.test');
  });

  it('is cordoned, whatever its state is', () => {
    const cordon = { cordoned: true, reason: 'disk', at: 5 };
    const row = fleetRow('r1', [], { cordon });
    expect([row.state, row.reportedState]).toEqual(['cordoned', 'ready']);
    expect(fleetRow('r1', [], { cordon: { ...cordon, cordoned: false } }).state).toBe('ready');
  });

  it('of a state that a newer server adds gets no calls', () => {
    expect(fleetRow('r1', [], { state: 'asleep' }).state).toBe('unready');
  });

  it('shows capabilities as they were registered', () => {
    const text = '{"replica_id":"r","endpoint":"e:1","capabilities":[{"big":12345678901234567890,"x":1.0}]}';
    expect(parseFleetRow(text)?.capabilityText).toBe('big=12345678901234567890,x=1.0');
    expect(parseFleetRow('{"replica_id":1}')).toBeUndefined();
    expect(parseFleetRow('nonsense')).toBeUndefined();
  });

  it('has each offer once', () => {
    const { offers } = fleetRow('r1', [QWEN, { ...QWEN, zone: 'a' }, { type: 'chat' }, { zone: 'b' }]);
    expect(offers.map(formatOffer)).toEqual(['qwen2 (chat)', 'type chat']);
  });
});

describe('the fleet', () => {
  it('shows a snapshot when it is complete', () => {
    const { fleet } = createFleet(fleetRow('old'));
    fleet.apply({ kind: 'snapshot', isWarming: true });
    fleet.apply({ kind: 'put', row: fleetRow('new') });
    expect([[...fleet.rows.keys()], fleet.isWarming]).toEqual([['old'], true]);
    fleet.apply({ kind: 'synced' });
    expect([...fleet.rows.keys()]).toEqual(['new']);
    fleet.apply({ kind: 'warm' });
    expect(fleet.isWarming).toBe(false);
  });

  it('is not synced before its first snapshot', () => {
    const fleet = new LiveFleet(() => 0);
    fleet.apply({ kind: 'snapshot', isWarming: false });
    expect(fleet.isSynced).toBe(false);
    fleet.apply({ kind: 'synced' });
    expect(fleet.isSynced).toBe(true);
  });

  it('follows puts, removals, loads and signs of life', () => {
    const { fleet } = createFleet(fleetRow('r1'), fleetRow('r2'));
    const before = fleet.version;
    fleet.apply({ kind: 'put', row: fleetRow('r1', [], { state: 'draining' }) });
    fleet.apply({ kind: 'removed', replicaId: 'r2', reason: 'closed' });
    fleet.apply({ kind: 'removed', replicaId: 'r2', reason: 'closed' });
    const load = { running: 3, waiting: 1, limit: undefined };
    fleet.apply({ kind: 'load', loads: [{ replicaId: asReplicaId('r1'), load }] });
    const details = fleet.detailVersion;
    fleet.updateSeen('r1', 7);
    expect(fleet.detailVersion).toBeGreaterThan(details);
    fleet.updateSeen('gone', 7);
    expect(fleet.totals.states).toEqual({ ready: 0, suspect: 0, unready: 0, draining: 1, cordoned: 0 });
    expect([fleet.rows.get('r1')?.load, fleet.rows.get('r1')?.seenMs]).toEqual([load, 7]);
    expect(fleet.version).toBeGreaterThan(before);
  });

  it('counts the hosts', () => {
    const { fleet } = createFleet(fleetRow('r1'), fleetRow('r2'), fleetRow('r3', [], { peer: '10.0.0.2' }));
    expect(fleet.totals.hosts).toBe(2);
  });

  it('counts who offers what', () => {
    const { fleet } = createFleet(fleetRow('r1', [QWEN, BGE]), fleetRow('r2', [QWEN], { state: 'unready' }));
    expect(listOffers(fleet)).toEqual(['bge (embedding) 1/1', 'qwen2 (chat) 1/2']);
    fleet.apply({ kind: 'put', row: fleetRow('r1', [QWEN], { state: 'suspect' }) });
    expect(listOffers(fleet)).toEqual(['qwen2 (chat) 0/2']);
  });
});

describe('an offer is lost', () => {
  it('when its last replica leaves, and no longer when somebody offers it', () => {
    const { fleet } = createFleet(fleetRow('r1', [QWEN]), fleetRow('r2', [QWEN]));
    fleet.apply({ kind: 'removed', replicaId: 'r1', reason: 'closed' });
    expect(listLost(fleet)).toEqual([]);
    fleet.apply({ kind: 'removed', replicaId: 'r2', reason: 'expired' });
    expect(listLost(fleet)).toEqual(['qwen2 (chat): r2 expired']);
    fleet.apply({ kind: 'put', row: fleetRow('r3', [QWEN]) });
    expect(listLost(fleet)).toEqual([]);
  });

  it('when a replica offers something else, but not when it registers again with the same', () => {
    const { fleet } = createFleet(fleetRow('r1', [QWEN]));
    fleet.apply({ kind: 'put', row: fleetRow('r1', [QWEN], { state: 'draining' }) });
    expect(listLost(fleet)).toEqual([]);
    fleet.apply({ kind: 'put', row: fleetRow('r1', [BGE]) });
    expect(listLost(fleet)).toEqual(['qwen2 (chat): r1 no longer offered']);
  });

  it('while the page was not connected', () => {
    const { fleet } = createFleet(fleetRow('r1', [QWEN]), fleetRow('r2', [BGE]));
    fleet.apply({ kind: 'snapshot', isWarming: false });
    fleet.apply({ kind: 'put', row: fleetRow('r3', [BGE]) });
    fleet.apply({ kind: 'synced' });
    expect(listLost(fleet)).toEqual(['qwen2 (chat): r1 it left while the connection was lost']);
  });

  it('for an hour, unless somebody dismisses it', () => {
    const { fleet, time } = createFleet(fleetRow('r1', [QWEN]), fleetRow('r2', [BGE]));
    fleet.apply({ kind: 'removed', replicaId: 'r1', reason: 'closed' });
    time.nowMs = 3_600_000;
    expect(listLost(fleet)).toHaveLength(1);
    time.nowMs++;
    expect(listLost(fleet)).toHaveLength(0);
    fleet.apply({ kind: 'removed', replicaId: 'r2', reason: 'closed' });
    expect(listLost(fleet)).toHaveLength(1);
    fleet.forgetLostOffers(['other']);
    expect(listLost(fleet)).toHaveLength(1);
    fleet.forgetLostOffers(fleet.listLostOffers().map(({ offer }) => offer.key));
    expect(listLost(fleet)).toHaveLength(0);
  });

  it('among thousands, of which the newest are remembered', () => {
    const offers = Array.from({ length: 3000 }, (_, n) => ({ model: `m${n}` }));
    const { fleet } = createFleet(fleetRow('r1', offers));
    fleet.apply({ kind: 'removed', replicaId: 'r1', reason: 'closed' });
    expect(fleet.listLostOffers()).toHaveLength(1000);
    expect(listLost(fleet)[0]).toBe('m2999: r1 closed');
  });
});
