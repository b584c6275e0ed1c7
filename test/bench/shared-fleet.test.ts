import { expect, it } from 'vitest';
import { measureReplacedReplica } from '../../bench/replaced-replica.js';
import { measureSharedFleet } from '../../bench/shared-fleet.js';

it('p2c lets ten clients share 100 replicas evenly: the busiest has at most 1.8 times the mean', async () => {
  expect(await measureSharedFleet('p2c', 400)).toBeLessThanOrEqual(1.8);
});

it('affinity keeps at least 95 % of the calls at the replicas that stay, while one of ten is replaced under its id', async () => {
  const { away, back } = await measureReplacedReplica('r1');
  expect(Math.min(away, back)).toBeGreaterThanOrEqual(0.95);
});
