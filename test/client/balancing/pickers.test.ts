import { describe, expect, it } from 'vitest';
import { createPicker } from '../../../src/client/balancing/pickers/create-picker.js';
import type { ReplicaCandidate } from '../../../src/client/balancing/pickers/picker.js';
import { StatsTable } from '../../../src/client/balancing/stats-table.js';
import type { PickerName } from '../../../src/client/client-options.js';
import { asReplicaId } from '../../../src/core/ids.js';
import { computeChiSquare } from '../../support/chi-square.js';
import { ManualClock } from '../../support/manual-clock.js';
import { createSeededRandom } from '../../support/seeded-random.js';

function createCandidates(count: number, getWeight = (_at: number): number => 1) {
  const clock = new ManualClock();
  const stats = new StatsTable(clock);
  const candidates = Array.from({ length: count }, (_, at): ReplicaCandidate => {
    const target = { endpoint: `r${at}:1`, replicaId: asReplicaId(`r${at}`) };
    return { target, weight: getWeight(at), stats: stats.getForModel(target.endpoint, '') };
  });
  return { clock, candidates };
}

function countPicks(name: PickerName, candidates: readonly ReplicaCandidate[], picks: number): number[] {
  const picker = createPicker(name, createSeededRandom(7));
  const counts = new Map<ReplicaCandidate, number>(candidates.map((candidate) => [candidate, 0]));
  for (let n = 0; n < picks; n++) {
    const picked = picker.pick(candidates, {});
    counts.set(picked, (counts.get(picked) ?? 0) + 1);
  }
  return [...counts.values()];
}

describe('every picker', () => {
  it.each(['p2c', 'random', 'round-robin', 'least-request', 'affinity'] as const)(
    '%s picks idle replicas in proportion to their weights',
    (name) => {
      const equal = countPicks(name, createCandidates(4).candidates, 4000);
      // The 99.9th percentile with 3 degrees of freedom.
      expect(computeChiSquare(equal)).toBeLessThan(16.3);
      const [light = 0, heavy = 0, third = 0] = countPicks(name, createCandidates(3, (at) => 1 + at).candidates, 6000);
      // The standard deviation of each is about 30.
      expect(Math.abs(light - 1000)).toBeLessThan(150);
      expect(Math.abs(heavy - 2000)).toBeLessThan(150);
      expect(Math.abs(third - 3000)).toBeLessThan(150);
    },
  );

  it('has a name that exists', () => {
    expect(() => createPicker('fastest' as PickerName, createSeededRandom(1))).toThrow(
      'option pick: "fastest" is not one of p2c, random, round-robin, least-request, affinity',
    );
  });
});

describe('p2c', () => {
  it('picks the replica with fewer calls in progress, and the faster one', () => {
    const { candidates } = createCandidates(2);
    const [busy, slow] = candidates as [ReplicaCandidate, ReplicaCandidate];
    busy.stats.endpoint.inFlight = 3;
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
    busy.stats.recordFirstByte(10);
    slow.stats.recordFirstByte(100);
    expect(countPicks('p2c', candidates, 10)).toEqual([10, 0]);
  });

  it('compares calls in progress in proportion to the weights', () => {
    const { candidates } = createCandidates(2, (at) => [1, 10][at] as number);
    const [light, heavy] = candidates as [ReplicaCandidate, ReplicaCandidate];
    // The weights decide: one call at the heavy replica is no reason to leave it.
    heavy.stats.endpoint.inFlight = 1;
    const [lightPicks = 0] = countPicks('p2c', candidates, 1100);
    expect(Math.abs(lightPicks - 100)).toBeLessThan(50);
    heavy.stats.endpoint.inFlight = 10;
    expect(countPicks('p2c', candidates, 10)).toEqual([10, 0]);
    light.stats.endpoint.inFlight = 1;
    heavy.stats.endpoint.inFlight = 9;
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
  });

  it('compares the reported loads of equal replicas: the calls that wait, then those that run', () => {
    const { candidates } = createCandidates(2);
    const [one, other] = candidates as [ReplicaCandidate, ReplicaCandidate];
    one.stats.endpoint.load.recordResponse({ running: 0, waiting: 2 }, 0, 0);
    // Nothing is known about the other.
    expect(countPicks('p2c', candidates, 100)[0]).toBeGreaterThan(0);
    other.stats.endpoint.load.recordResponse({ running: 9, waiting: 1 }, 0, 0);
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
    one.stats.endpoint.load.recordResponse({ running: 8, waiting: 1 }, 0, 0);
    expect(countPicks('p2c', candidates, 10)).toEqual([10, 0]);
    one.stats.endpoint.inFlight = 1;
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
  });

  it('asks a third replica when two are equal', () => {
    const { candidates } = createCandidates(3);
    candidates.forEach(({ stats }, at) => {
      stats.endpoint.load.recordResponse({ running: [5, 5, 1][at] as number, waiting: 0 }, 0, 0);
    });
    // 5/6 instead of 2/3: the third one is sometimes the one that was not picked.
    expect(countPicks('p2c', candidates, 600)[2]).toBeGreaterThan(450);
  });

  it('asks a third replica when two are slow', () => {
    const { clock, candidates } = createCandidates(10);
    candidates.forEach(({ stats }, at) => {
      stats.recordFirstByte(at < 6 ? 10 : 1000 + at);
    });
    // Then the median is computed again.
    clock.advance(100);
    const slowPicks = countPicks('p2c', candidates, 3000).slice(6);
    // 4/10 * 3/9 of the choices are between two of them: 400. A third one is slow as well in 3/9 of these cases.
    expect(slowPicks.reduce((total, picks) => total + picks, 0)).toBeLessThan(200);
  });

  it('ignores the load in a response that is more than 10 s old', () => {
    const { clock, candidates } = createCandidates(2);
    const [one, other] = candidates as [ReplicaCandidate, ReplicaCandidate];
    one.stats.endpoint.load.recordResponse({ running: 0, waiting: 2 }, 0, 0);
    other.stats.endpoint.load.recordResponse({ running: 0, waiting: 0 }, 0, 0);
    clock.advance(10_000);
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
    clock.advance(1);
    expect(countPicks('p2c', candidates, 100)[0]).toBeGreaterThan(0);
  });

  it('compares reported loads in proportion to the weights', () => {
    const { candidates } = createCandidates(2, (at) => 1 + at);
    const [light, heavy] = candidates as [ReplicaCandidate, ReplicaCandidate];
    const pickWith = (lightRunning: number, heavyRunning: number): number[] => {
      light.stats.endpoint.load.recordResponse({ running: lightRunning, waiting: 0 }, 0, 0);
      heavy.stats.endpoint.load.recordResponse({ running: heavyRunning, waiting: 0 }, 0, 0);
      return countPicks('p2c', candidates, 10);
    };
    expect(pickWith(5, 8)).toEqual([0, 10]);
    expect(pickWith(4, 10)).toEqual([10, 0]);
    expect(pickWith(5, 10).every((picks) => picks > 0)).toBe(true);
  });

  it('does not count its own calls of a burst that is over, so it avoids no replica because of them', () => {
    const { candidates } = createCandidates(2);
    const [one, other] = candidates as [ReplicaCandidate, ReplicaCandidate];
    one.stats.endpoint.inFlight = 21;
    one.stats.recordResponseLoad({ running: 16, waiting: 5, limit: 16 });
    other.stats.endpoint.inFlight = 1;
    other.stats.recordResponseLoad({ running: 0, waiting: 0, limit: 16 });
    one.stats.endpoint.inFlight = 0;
    other.stats.endpoint.inFlight = 0;
    // One call of another client is left.
    expect(countPicks('p2c', candidates, 10)).toEqual([0, 10]);
    other.stats.endpoint.load.recordResponse({ running: 1, waiting: 0, limit: 16 }, 0, 0);
    expect(countPicks('p2c', candidates, 100).every((picks) => picks > 0)).toBe(true);
  });

  it('picks a slow replica again after 10 s', () => {
    const { clock, candidates } = createCandidates(3);
    const [, , slow] = candidates as [ReplicaCandidate, ReplicaCandidate, ReplicaCandidate];
    for (const { stats } of candidates) stats.recordFirstByte(stats === slow.stats ? 1000 : 10);
    expect(countPicks('p2c', candidates, 50)[2]).toBe(0);
    clock.advance(9000);
    expect(countPicks('p2c', candidates, 50)[2]).toBe(0);
    clock.advance(1000);
    expect(countPicks('p2c', candidates, 50)[2]).toBeGreaterThan(0);
  });
});

describe('least-request', () => {
  it('picks a replica with the fewest calls in progress for its weight', () => {
    const { candidates } = createCandidates(3, (at) => (at === 2 ? 4 : 1));
    candidates.forEach(({ stats }, at) => {
      stats.endpoint.inFlight = [2, 1, 3][at] as number;
    });
    expect(countPicks('least-request', candidates, 10)).toEqual([0, 0, 10]);
  });
});

describe('round-robin', () => {
  it('spreads the turns of a heavy replica', () => {
    const { candidates } = createCandidates(2, (at) => (at === 0 ? 3 : 1));
    const picker = createPicker('round-robin', createSeededRandom(1));
    const order = Array.from({ length: 8 }, () => picker.pick(candidates, {}).target.replicaId);
    expect(order.join(' ')).toBe('r0 r0 r1 r0 r0 r0 r1 r0');
  });

  it('spreads the turns of replicas that come back at the same time', () => {
    const { candidates } = createCandidates(40);
    const picker = createPicker('round-robin', createSeededRandom(1));
    for (let n = 0; n < 60; n++) picker.pick(candidates, {});
    const [back, stayed] = [candidates.slice(0, 10), candidates.slice(10)];
    for (let n = 0; n < 100; n++) picker.pick(stayed, {});
    const round = Array.from({ length: 40 }, () => picker.pick(candidates, {}));
    expect(back.every((one) => round.includes(one))).toBe(true);
    const inARow = round.map((one) => (back.includes(one) ? 'b' : ' ')).join('');
    expect(inARow).not.toContain('bbbb');
  });
});

describe('affinity', () => {
  const picker = createPicker('affinity', createSeededRandom(1));
  const keys = Array.from({ length: 2000 }, (_, n) => `session ${n}`);
  const pickAll = (candidates: readonly ReplicaCandidate[]) =>
    keys.map((affinity) => picker.pick(candidates, { affinity }).target.replicaId);

  it('picks the same replica for a key, whatever the order, and spreads the keys', () => {
    const { candidates } = createCandidates(10);
    const picked = pickAll(candidates);
    expect(pickAll(createCandidates(10).candidates.reverse())).toEqual(picked);
    const counts = candidates.map(({ target }) => picked.filter((id) => id === target.replicaId).length);
    // The 99.9th percentile with 9 degrees of freedom.
    expect(computeChiSquare(counts)).toBeLessThan(27.88);
  });

  it('moves only the keys of a replica that has left', () => {
    const { candidates } = createCandidates(10);
    const before = pickAll(candidates);
    const after = pickAll(candidates.filter(({ target }) => target.replicaId !== 'r3'));
    const moved = keys.filter((_, at) => before[at] !== after[at]);
    expect(moved).toEqual(keys.filter((_, at) => before[at] === 'r3'));
  });

  it('passes a call on from a replica that is much busier than the others, always to the same one', () => {
    const { candidates } = createCandidates(10);
    const [home] = pickAll(candidates);
    const stats = candidates.find(({ target }) => target.replicaId === home)?.stats as ReplicaCandidate['stats'];
    stats.endpoint.inFlight = 8;
    expect(pickAll(candidates)[0]).toBe(home);
    stats.endpoint.inFlight = 9;
    const [other] = pickAll(candidates);
    expect(other).not.toBe(home);
    expect(pickAll(candidates)[0]).toBe(other);
    for (const one of candidates) one.stats.endpoint.inFlight = 9;
    expect(pickAll(candidates)[0]).toBe(home);
  });

  it('passes a call on from a replica that reports waiting calls, for 10 s, unless calls wait everywhere', () => {
    const { clock, candidates } = createCandidates(10);
    const [home] = pickAll(candidates);
    const stats = candidates.find(({ target }) => target.replicaId === home)?.stats as ReplicaCandidate['stats'];
    stats.endpoint.load.recordResponse({ running: 4, waiting: 0 }, 0, 0);
    expect(pickAll(candidates)[0]).toBe(home);
    stats.endpoint.load.recordResponse({ running: 4, waiting: 1 }, 0, 0);
    const [other] = pickAll(candidates);
    expect(other).not.toBe(home);
    for (const one of candidates) one.stats.endpoint.load.recordResponse({ running: 4, waiting: 1 }, 0, 0);
    expect(pickAll(candidates)[0]).toBe(home);
    for (const one of candidates)
      if (one.stats !== stats) one.stats.endpoint.load.recordResponse({ running: 4, waiting: 0 }, 0, 0);
    expect(pickAll(candidates)[0]).toBe(other);
    clock.advance(10_001);
    expect(pickAll(candidates)[0]).toBe(home);
    stats.endpoint.inFlight = 4;
    stats.recordResponseLoad({ running: 2, waiting: 1 });
    expect(pickAll(candidates)[0]).toBe(other);
    stats.endpoint.inFlight = 0;
    expect(pickAll(candidates)[0]).toBe(home);
  });
});
