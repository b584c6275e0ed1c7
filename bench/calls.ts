/**
 * Compares the pickers of the client on simulated fleets with a manual clock, so the figures don't depend on the machine:
 * equal replicas, a slow one, a failing one, replicas of different speed, bursts, and rare slow responses with and without
 * hedging. Draws the durations of each scenario as docs/images/calls-*.svg.
 */

import { writeFileSync } from 'node:fs';
import type { PickerName } from '../src/client/client-options.js';
import { AnyserveError } from '../src/core/errors.js';
import { SimulatedFleet, type SimulatedResponse } from '../test/support/simulated-fleet.js';
import { computeQuantile, roundFigure } from './figures.js';
import { getProjectPath } from './project-file.js';
import { drawQuantiles, type Line } from './quantile-drawing.js';
import { type Row, report } from './report.js';

const PICKERS: readonly PickerName[] = ['p2c', 'least-request', 'round-robin', 'random'];

/** Usual time of a call, in ms. */
const CALL_MS = 50;

/** Number of calls of each measurement: more for many replicas, so that each has many. */
const CALLS = 6000;
const MAX_CALLS = 100_000;

/** How the calls of a scenario begin, and what the replicas do. */
interface Scenario {
  readonly title: string;
  readonly count: number;
  /** Time between two calls, in ms. */
  readonly intervalMs: (call: number) => number;
  readonly respond: (replica: number, fraction: number) => SimulatedResponse;
  readonly hedgeAfterMs?: number;
}

/** Exponentially distributed time of a call, in ms. */
const takeRandomMs = (fraction: number, meanMs = CALL_MS): number => -meanMs * Math.log(1 - fraction);

/** Calls that keep about ten in progress at each replica. */
const keepBusy = (count: number) => () => CALL_MS / (10 * count);

const EQUAL: readonly Scenario[] = [10, 100, 1000].map((count) => ({
  title: `${count} equal replicas`,
  count,
  intervalMs: keepBusy(count),
  respond: (_replica, fraction) => ({ afterMs: takeRandomMs(fraction) }),
}));

const SLOW: Scenario = {
  title: 'one of 10 is ten times slower',
  count: 10,
  intervalMs: () => 10,
  respond: (replica) => ({ afterMs: replica === 10 ? 10 * CALL_MS : CALL_MS }),
};

const FAILING: Scenario = {
  title: 'one of 10 fails at once',
  count: 10,
  intervalMs: () => 10,
  respond: (replica) =>
    replica === 10 ? { afterMs: 1, error: new AnyserveError('unavailable', 'full') } : { afterMs: CALL_MS },
};

const UNEVEN: Scenario = {
  title: 'five of 10 are twice as fast',
  count: 10,
  intervalMs: () => CALL_MS / 50,
  respond: (replica, fraction) => ({ afterMs: takeRandomMs(fraction, replica % 2 === 0 ? CALL_MS / 2 : CALL_MS) }),
};

const BURSTS: Scenario = {
  title: 'bursts of 100 calls at 10 replicas, one ten times slower',
  count: 10,
  intervalMs: (call) => (call % 100 === 0 ? 1000 : 0),
  respond: SLOW.respond,
};

const SCENARIOS = [...EQUAL, SLOW, FAILING, UNEVEN, BURSTS];

const HEDGE_SCENARIO: Scenario = {
  title: '3 % of the responses are ten times slower',
  count: 10,
  intervalMs: () => 10,
  respond: (_replica, fraction) => ({ afterMs: fraction < 0.03 ? 10 * CALL_MS : CALL_MS }),
};

interface Measurement {
  readonly durationsMs: readonly number[];
  readonly attemptsPerCall: number;
  /** Most calls in progress at a replica, divided by the mean of all, at the 99th percentile of samples. */
  readonly maxOfMean: number;
}

async function measure(pick: PickerName, scenario: Scenario): Promise<Measurement> {
  const { count, intervalMs, respond, hedgeAfterMs = 0 } = scenario;
  const fleet = new SimulatedFleet({ pick, count, hedgeAfterMs });
  for (let n = 1; n <= count; n++) fleet.setResponse(`r${n}`, () => respond(n, fleet.random.fraction()));
  const durationsMs: number[] = [];
  const ratios: number[] = [];
  const calls: Promise<unknown>[] = [];
  const total = Math.max(CALLS, Math.min(MAX_CALLS, 300 * count));
  for (let call = 0; call < total; call++) {
    const startedAtMs = fleet.clock.nowMs();
    calls.push(fleet.call().then(() => durationsMs.push(fleet.clock.nowMs() - startedAtMs)));
    const pauseMs = intervalMs(call);
    if (pauseMs > 0) await fleet.run(pauseMs);
    if (call > total / 2 && call % Math.ceil(total / 200) === 0) ratios.push(await compareWithMean(fleet));
  }
  await fleet.run(60_000);
  await Promise.all(calls);
  const attemptsPerCall = fleet.attempts.length / total;
  fleet.close();
  return { durationsMs, attemptsPerCall, maxOfMean: computeQuantile(ratios, 0.99) };
}

async function compareWithMean(fleet: SimulatedFleet): Promise<number> {
  const inProgress = (await fleet.discovery.listReplicas()).map(({ callsInProgress }) => callsInProgress);
  const sum = inProgress.reduce((total, calls) => total + calls, 0);
  return sum === 0 ? 1 : (Math.max(...inProgress) * inProgress.length) / sum;
}

function toRow(scenario: Scenario, name: string, { durationsMs, attemptsPerCall, maxOfMean }: Measurement): Row {
  return {
    what: `${scenario.title}: ${name}`,
    p50Ms: roundFigure(computeQuantile(durationsMs, 0.5)),
    p99Ms: roundFigure(computeQuantile(durationsMs, 0.99)),
    // With few calls in progress, the mean is less than one.
    ...(EQUAL.includes(scenario) && { maxOfMean: roundFigure(maxOfMean) }),
    attemptsPerCall: roundFigure(attemptsPerCall),
  };
}

function saveDrawing(name: string, title: string, lines: readonly Line[]): void {
  writeFileSync(getProjectPath(`docs/images/calls-${name}.svg`), drawQuantiles(title, lines));
}

async function main(): Promise<void> {
  const rows: Row[] = [];
  for (const scenario of SCENARIOS) {
    const lines: Line[] = [];
    for (const pick of PICKERS) {
      const measurement = await measure(pick, scenario);
      rows.push(toRow(scenario, pick, measurement));
      lines.push({ name: pick, values: measurement.durationsMs });
    }
    if (scenario === SLOW) saveDrawing('slow-replica', SLOW.title, lines);
  }
  const lines: Line[] = [];
  for (const hedgeAfterMs of [0, 1.5 * CALL_MS]) {
    const name = hedgeAfterMs === 0 ? 'not hedged' : `hedged after ${hedgeAfterMs} ms`;
    const measurement = await measure('p2c', { ...HEDGE_SCENARIO, hedgeAfterMs });
    rows.push(toRow(HEDGE_SCENARIO, name, measurement));
    lines.push({ name, values: measurement.durationsMs });
  }
  saveDrawing('hedging', HEDGE_SCENARIO.title, lines);
  report({ name: 'calls', rows, compared: { p99Ms: 'less', maxOfMean: 'less', attemptsPerCall: 'less' } });
}

await main();
