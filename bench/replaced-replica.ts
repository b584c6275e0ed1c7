import { SimulatedFleet } from '../test/support/simulated-fleet.js';
import { takeExponential } from './figures.js';

const REPLICAS = 10;
const KEYS = 1000;

/** Mean time of a call, in ms, and number of calls in progress. */
const CALL_MS = 50;
const CALLS_IN_PROGRESS = 50;

/** Time for which the replica drains, is away, and is back, in ms. */
const PHASE_MS = 10_000;

/** Share of the calls that go to the replica of their key, of the keys whose replica stays. */
export interface KeptShare {
  /** While the replica drains and is away. */
  readonly away: number;
  /** After its successor has registered. */
  readonly back: number;
}

/** Makes calls with affinity keys while one of ten replicas drains, leaves, and another one registers with this id. */
export async function measureReplacedReplica(successorId: string): Promise<KeptShare> {
  const fleet = new SimulatedFleet({ pick: 'affinity', count: REPLICAS });
  for (const id of [...listIds(), successorId]) {
    fleet.setResponse(id, () => ({ afterMs: takeExponential(fleet.random, CALL_MS) }));
  }
  const homes = await findHomes(fleet);
  fleet.put('r1', { state: 'draining' });
  const draining = await countKept(fleet, homes);
  fleet.remove('r1');
  const gone = await countKept(fleet, homes);
  fleet.put(successorId);
  const back = await countKept(fleet, homes);
  fleet.close();
  return { away: (draining + gone) / 2, back };
}

const listIds = (): string[] => Array.from({ length: REPLICAS }, (_, n) => `r${n + 1}`);

const toKey = (n: number): string => `session ${n}`;

/** Returns the replica of each key, by calls that meet no others. */
async function findHomes(fleet: SimulatedFleet): Promise<string[]> {
  for (let n = 0; n < KEYS; n++) {
    const call = fleet.call({ affinity: toKey(n) });
    await fleet.run(60 * CALL_MS);
    await call;
  }
  return fleet.attempts.splice(0);
}

/** Makes calls with random keys, and returns the share that goes to the replica of the key, of the keys of those that stay. */
async function countKept(fleet: SimulatedFleet, homes: readonly string[]): Promise<number> {
  const endAtMs = fleet.clock.nowMs() + PHASE_MS;
  const calls: Promise<unknown>[] = [];
  let [kept, all] = [0, 0];
  while (fleet.clock.nowMs() < endAtMs) {
    const key = Math.floor(fleet.random.fraction() * KEYS);
    fleet.onAttempt = (id) => {
      if (homes[key] === 'r1') return;
      all++;
      if (homes[key] === id) kept++;
    };
    calls.push(fleet.call({ affinity: toKey(key) }));
    await fleet.run(takeExponential(fleet.random, CALL_MS / CALLS_IN_PROGRESS));
  }
  await fleet.run(60_000);
  await Promise.all(calls);
  return kept / all;
}
