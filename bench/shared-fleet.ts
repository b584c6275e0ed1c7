import type { PickerName } from '../src/client/client-options.js';
import { SimulatedFleet } from '../test/support/simulated-fleet.js';
import { SimulatedReplicas } from '../test/support/simulated-replicas.js';
import { computeQuantile, takeExponential } from './figures.js';

const CLIENTS = 10;
const REPLICAS = 100;
const CALLS_PER_CLIENT = 100;

/** Mean time of a call, in ms. Each client gets a response of each replica about as often: most loads it knows are less than 1 s old. */
const CALL_MS = 200;

const WARM_UP_MS = 2000;
const SAMPLE_INTERVAL_MS = 25;

/**
 * Measures how evenly ten clients that know nothing of each other share 100 equal replicas, with 1,000 calls in progress. Returns
 * the most calls at a replica divided by the mean, at the 99th percentile of samples.
 */
export async function measureSharedFleet(pick: PickerName, samples: number): Promise<number> {
  const replicas = new SimulatedReplicas();
  const clients = Array.from(
    { length: CLIENTS },
    (_, n) => new SimulatedFleet({ seed: n + 1, pick, count: REPLICAS, replicas }),
  );
  const [{ random }] = clients as [SimulatedFleet];
  for (let n = 1; n <= REPLICAS; n++) {
    clients[0]?.setResponse(`r${n}`, () => ({ afterMs: takeExponential(random, CALL_MS) }));
  }
  const calls: Promise<unknown>[] = [];
  let isOver = false;
  for (const client of clients) {
    const callOften = (): void => {
      if (isOver) return;
      calls.push(client.call());
      client.clock.schedule(takeExponential(random, CALL_MS / CALLS_PER_CLIENT), callOften);
    };
    callOften();
  }
  await replicas.run(WARM_UP_MS);
  const ratios: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await replicas.run(SAMPLE_INTERVAL_MS);
    const inProgress = replicas.calls;
    ratios.push((Math.max(...inProgress) * REPLICAS) / inProgress.reduce((total, count) => total + count, 0));
  }
  isOver = true;
  await replicas.run(60_000);
  await Promise.all(calls);
  for (const client of clients) client.close();
  return computeQuantile(ratios, 0.99);
}
