import type { PickerName } from '../src/client/client-options.js';
import type { Random } from '../src/core/ports.js';
import { SimulatedFleet } from '../test/support/simulated-fleet.js';
import type { SimulatedResponse } from '../test/support/simulated-replicas.js';
import { computeQuantile } from './figures.js';

/** Number of calls of each measurement: more for many replicas, so that each has many. */
const MIN_CALLS = 6000;
const MAX_CALLS = 100_000;
const CALLS_PER_REPLICA = 300;

/** Number of samples of the calls in progress. */
const SAMPLES = 100;

/** How the calls of a scenario begin, and what the replicas do. Replicas are numbered from 1. */
export interface CallScenario {
  readonly title: string;
  readonly count: number;
  /** Time between a call and the next one, in ms. */
  readonly intervalMs: (call: number, random: Random) => number;
  readonly respond: (replica: number, random: Random) => SimulatedResponse;
  /** Maximum number of calls that a replica runs at once. Default: unlimited. */
  readonly slots?: (replica: number) => number;
  readonly weight?: (replica: number) => number;
  readonly hedgeAfterMs?: number;
}

/** Figures of a scenario with one picker. */
export interface CallMeasurement {
  readonly durationsMs: readonly number[];
  readonly attemptsPerCall: number;
  /** Most calls in progress at a replica, divided by the mean of all, at the 99th percentile of samples. */
  readonly maxOfMean: number;
}

/** Makes the calls of a scenario at a simulated fleet. Throws if one fails. */
export async function measureCalls(pick: PickerName, scenario: CallScenario): Promise<CallMeasurement> {
  const fleet = createFleet(pick, scenario);
  const durationsMs: number[] = [];
  const ratios: number[] = [];
  const calls: Promise<unknown>[] = [];
  const total = Math.max(MIN_CALLS, Math.min(MAX_CALLS, CALLS_PER_REPLICA * scenario.count));
  for (let call = 0; call < total; call++) {
    calls.push(recordDuration(fleet, durationsMs));
    const pauseMs = scenario.intervalMs(call, fleet.random);
    if (pauseMs > 0) await fleet.run(pauseMs);
    if (call > total / 2 && call % Math.ceil(total / 2 / SAMPLES) === 0) ratios.push(compareWithMean(fleet));
  }
  await fleet.run(60_000);
  await Promise.all(calls);
  const attemptsPerCall = fleet.attempts.length / total;
  fleet.close();
  return { durationsMs, attemptsPerCall, maxOfMean: computeQuantile(ratios, 0.99) };
}

function createFleet(pick: PickerName, { count, respond, slots, weight, hedgeAfterMs = 0 }: CallScenario) {
  const fleet = new SimulatedFleet({ pick, count, hedgeAfterMs });
  for (let n = 1; n <= count; n++) {
    fleet.setResponse(`r${n}`, () => respond(n, fleet.random));
    if (slots) fleet.setSlots(`r${n}`, slots(n));
    if (weight) fleet.put(`r${n}`, { weight: weight(n) });
  }
  return fleet;
}

async function recordDuration(fleet: SimulatedFleet, durationsMs: number[]): Promise<void> {
  const startedAtMs = fleet.clock.nowMs();
  const outcome = await fleet.call();
  if (outcome !== 'ok') throw new Error(`a call failed: ${outcome}`);
  durationsMs.push(fleet.clock.nowMs() - startedAtMs);
}

function compareWithMean({ replicas, working }: SimulatedFleet): number {
  return working === 0 ? 1 : (Math.max(...replicas.calls) * replicas.calls.length) / working;
}
