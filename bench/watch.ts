/**
 * Measures `GET /watch`: the time from a change until a watcher has it, the CPU and memory of 1,000 watchers, and the
 * time and the stalls of snapshots. The server runs on core 0, the process that holds the streams on core 1.
 */
import { ask, getBuiltCommand, type Started, start } from './child-process.js';
import { computeQuantile, readMonotonicUs, roundFigure } from './figures.js';
import type { Memory } from './own-usage.js';
import { type Row, report } from './report.js';
import type { WatchOpening } from './watch-holder.js';
import type { Changes, ChangeTimes } from './watch-server.js';

const REPLICAS = 10_000;
const DURATION_MS = 10_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Streams and changes to measure. */
interface Scenario extends Omit<WatchOpening, 'port'> {
  readonly what: string;
  readonly perSecond: number;
  /** Default: 10,000. */
  readonly replicas?: number;
}

async function measure({ what, perSecond, replicas = REPLICAS, ...opening }: Scenario): Promise<Row> {
  const server = await start(getBuiltCommand('watch-server', String(replicas)), { core: 0 });
  const holder = await start(getBuiltCommand('watch-holder'), { core: 1 });
  const port = Number(server.line);
  const before = await ask<Memory>(server, 'memory');
  const quietly: Changes = { perSecond: 0.1, durationMs: 3000 };
  const [opened, stall] = await Promise.all([
    ask<number>(holder, 'open', { ...opening, port }),
    ask<ChangeTimes>(server, 'change', quietly),
  ]);
  // Snapshots are released 2 s after they were made.
  await pause(3000);
  const after = await ask<Memory>(server, 'memory');
  await ask(holder, 'arrivals');
  const { cpuPercent, latencies } = await measureChanges(server, holder, perSecond);
  for (const { child } of [server, holder]) child.kill();
  return {
    what,
    ...(latencies.length > 0 && {
      p50Ms: roundFigure(computeQuantile(latencies, 0.5)),
      p99Ms: roundFigure(computeQuantile(latencies, 0.99)),
    }),
    cpuPercent: roundFigure(cpuPercent),
    ...(opening.count > 1 && {
      heapBytesEach: Math.round((after.heap - before.heap) / opening.count),
      residentBytesEach: Math.round((after.resident - before.resident) / opening.count),
    }),
    ...(opening.count > 0 && { snapshotMs: roundFigure(opened), stallMs: roundFigure(stall.stallMs) }),
  };
}

/** Measures the CPU of the server in percent of a core, and the times from a change to its arrival in ms. */
async function measureChanges(
  server: Started,
  holder: Started,
  perSecond: number,
): Promise<{ readonly cpuPercent: number; readonly latencies: readonly number[] }> {
  const [cpuBefore, startUs] = [await ask<number>(server, 'cpuMs'), readMonotonicUs()];
  const { timesUs } = await ask<ChangeTimes>(server, 'change', { perSecond, durationMs: DURATION_MS });
  const cpuPercent =
    (((await ask<number>(server, 'cpuMs')) - cpuBefore) / ((readMonotonicUs() - startUs) / 1000)) * 100;
  await pause(1000);
  const changedAtUs = new Map(timesUs);
  const arrivals = await ask<readonly [number, number][]>(holder, 'arrivals');
  const latencies = arrivals.flatMap(([revision, atUs]) => {
    const changeUs = changedAtUs.get(revision);
    return changeUs === undefined ? [] : [(atUs - changeUs) / 1000];
  });
  return { cpuPercent, latencies };
}

const SCENARIOS: readonly Scenario[] = [
  { what: 'no watcher, 100 changes/s', count: 0, perSecond: 100 },
  { what: '1 watcher, 10 changes/s', count: 1, perSecond: 10 },
  { what: '1 watcher, 100 changes/s', count: 1, perSecond: 100 },
  { what: '1000 watchers, no changes', count: 1000, perSecond: 0 },
  { what: '1000 watchers, 100 changes/s', count: 1000, perSecond: 100 },
  { what: '1000 watchers with 200 filters, 100 changes/s', count: 1000, filters: 200, perSecond: 100 },
  { what: '1 watcher of 100000 replicas, 100 changes/s', count: 1, perSecond: 100, replicas: 100_000 },
];

const rows: Row[] = [];
for (const scenario of SCENARIOS) rows.push(await measure(scenario));
report({
  name: 'watch',
  rows,
  compared: { p99Ms: 'less', cpuPercent: 'less', heapBytesEach: 'less', stallMs: 'less' },
});
process.exit();
