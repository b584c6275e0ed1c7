/**
 * Compares the pickers of the client. Simulated fleets with a manual clock show the time of the slowest calls, how evenly calls are
 * spread, also with ten clients, and how many keep their replica; these figures don't depend on the machine. Ten real workers on
 * this machine, of which one is slow or killed, show that it is so in reality. Draws docs/images/calls-*.svg.
 */

import { writeFileSync } from 'node:fs';
import type { PickerName } from '../src/client/client-options.js';
import { EQUAL_SCENARIOS, HEDGE_SCENARIOS, SCENARIOS, SLOW_SCENARIO, UNEVEN_SIZE_SCENARIO } from './call-scenarios.js';
import { computeQuantile, roundFigure } from './figures.js';
import { getProjectPath } from './project-file.js';
import { drawQuantiles, type Line } from './quantile-drawing.js';
import { type RealCalls, RealFleet } from './real-fleet.js';
import { measureReplacedReplica } from './replaced-replica.js';
import { type Row, report } from './report.js';
import { measureSharedFleet } from './shared-fleet.js';
import { type CallMeasurement, type CallScenario, measureCalls } from './simulated-calls.js';

/** The pickers, and their names in figures. */
const PICKERS = { p2c: 'p2c', 'least-request': 'leastRequest', 'round-robin': 'roundRobin', random: 'random' } as const;

const PICKER_NAMES = Object.keys(PICKERS) as readonly (keyof typeof PICKERS)[];

/** Number of samples of the calls that ten clients have in progress. */
const SHARED_SAMPLES = 1000;

/** Names and titles of the drawings of scenarios. */
const DRAWINGS = new Map([
  [SLOW_SCENARIO, ['slow-replica', 'one of 10 is ten times slower']],
  [UNEVEN_SIZE_SCENARIO, ['uneven-sizes', 'half of the replicas have few slots']],
] as const);

type Measurements = Readonly<Record<PickerName, CallMeasurement>>;

async function measureAll(scenario: CallScenario): Promise<Measurements> {
  const measured = [];
  for (const pick of PICKER_NAMES) measured.push([pick, await measureCalls(pick, scenario)] as const);
  return Object.fromEntries(measured) as Measurements;
}

/** Returns a figure of each picker: `p2cP99Ms` and so on. */
function listByPicker<Value>(
  unit: string,
  values: Readonly<Record<string, Value>>,
  toFigure: (value: Value) => number,
): Record<string, number> {
  const figures = PICKER_NAMES.map((pick) => [`${PICKERS[pick]}${unit}`, roundFigure(toFigure(values[pick] as Value))]);
  return Object.fromEntries(figures);
}

const computeP99Ms = ({ durationsMs }: { readonly durationsMs: readonly number[] }): number =>
  computeQuantile(durationsMs, 0.99);

function toRow(scenario: CallScenario, measurements: Measurements): Row {
  return {
    what: scenario.title,
    ...listByPicker('P99Ms', measurements, computeP99Ms),
    p2cAttempts: roundFigure(measurements.p2c.attemptsPerCall),
    // With few calls in progress, the mean is less than one.
    ...(EQUAL_SCENARIOS.includes(scenario) && listByPicker('MaxOfMean', measurements, ({ maxOfMean }) => maxOfMean)),
  };
}

function saveDrawing(name: string, title: string, lines: readonly Line[]): void {
  writeFileSync(getProjectPath(`docs/images/calls-${name}.svg`), drawQuantiles(title, lines));
}

const toLines = (measured: Readonly<Record<string, { readonly durationsMs: readonly number[] }>>): Line[] =>
  PICKER_NAMES.map((name) => ({ name, values: measured[name]?.durationsMs ?? [] }));

async function measureSimulated(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const scenario of [...SCENARIOS, ...HEDGE_SCENARIOS]) {
    const measurements = await measureAll(scenario);
    rows.push(toRow(scenario, measurements));
    const [name, title] = DRAWINGS.get(scenario) ?? [];
    if (name && title) saveDrawing(name, title, toLines(measurements));
  }
  const ratios: Record<string, number> = {};
  for (const pick of PICKER_NAMES) ratios[pick] = await measureSharedFleet(pick, SHARED_SAMPLES);
  rows.push({ what: '100 equal replicas, ten clients', ...listByPicker('MaxOfMean', ratios, (ratio) => ratio) });
  return rows;
}

async function drawHedging(): Promise<void> {
  const lines: Line[] = [];
  for (const scenario of HEDGE_SCENARIOS) {
    const { durationsMs: values } = await measureCalls('p2c', scenario);
    lines.push({ name: scenario.hedgeAfterMs ? `hedged after ${scenario.hedgeAfterMs} ms` : 'not hedged', values });
  }
  saveDrawing('hedging', HEDGE_SCENARIOS[0]?.title as string, lines);
}

async function measureAffinity(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [what, id] of [
    ['under its id', 'r1'],
    ['under another id', 'r11'],
  ] as const) {
    const { away, back } = await measureReplacedReplica(id);
    rows.push({
      what: `one of 10 is replaced ${what}`,
      keptAwayPercent: roundFigure(100 * away),
      keptBackPercent: roundFigure(100 * back),
    });
  }
  return rows;
}

async function measureReal(): Promise<Row[]> {
  const fleet = await RealFleet.start();
  const [slow, killed]: [Record<string, RealCalls>, Record<string, RealCalls>] = [{}, {}];
  await fleet.slowDown();
  for (const pick of PICKER_NAMES) slow[pick] = await fleet.measure(pick);
  for (const pick of PICKER_NAMES) {
    await fleet.repair();
    killed[pick] = await fleet.measure(pick, { kills: true });
  }
  fleet.stop();
  saveDrawing('real-slow-worker', '10 real workers, one is ten times slower', toLines(slow));
  return PICKER_NAMES.map((pick) => ({
    what: `real workers: ${pick}`,
    slowP50Ms: roundFigure(computeQuantile(slow[pick]?.durationsMs ?? [], 0.5)),
    slowP99Ms: roundFigure(computeP99Ms(slow[pick] as RealCalls)),
    killedP99Ms: roundFigure(computeP99Ms(killed[pick] as RealCalls)),
    killedMaxMs: roundFigure(Math.max(...(killed[pick]?.durationsMs ?? []))),
    killedFailed: killed[pick]?.failedCalls ?? 0,
    killedAttempts: roundFigure(killed[pick]?.attemptsPerCall ?? 0),
  }));
}

const rows = [...(await measureSimulated()), ...(await measureAffinity()), ...(await measureReal())];
await drawHedging();
report({ name: 'calls', rows, compared: { p2cP99Ms: 'less', p2cMaxOfMean: 'less', keptAwayPercent: 'more' } });
