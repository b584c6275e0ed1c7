/**
 * Compares the gateway with others, and with a plain proxy of Node.js: added time, calls per second, processor time and memory. The
 * engine is nginx, and the client is wrk, so neither is the limit. Gateways run on core 0, engine and client on core 1. With
 * `--install`, installs the other gateways first; without it, those that are installed are measured.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { computeMedian, computeMedianRatio, roundFigure } from './figures.js';
import {
  CLIENT_CORE,
  type Contender,
  forEachContender,
  OURS,
  startContender,
  startContenders,
} from './gateway-contenders.js';
import { CALL_PATH, LARGE_BODY, SMALL_BODY, startEngine } from './gateway-engine.js';
import { installRivals } from './gateway-rivals.js';
import { measureStreams } from './gateway-streams.js';
import { readProcessorUs, readResidentBytes } from './process-usage.js';
import { checkPrograms } from './programs.js';
import { getProjectPath } from './project-file.js';
import { type Row, report } from './report.js';
import { runWrk, type WrkResult, writeWrkScript } from './wrk.js';

/** Number of rounds: an argument, for a quick look. */
const ROUNDS = Number(process.argv.find((argument) => /^\d+$/.test(argument)) ?? 7);
const SECONDS = 2;

/** Number of calls before the memory is measured, and the time after which a slow gateway need not make them, in s. */
const MEMORY_CALLS = 20_000;
const MEMORY_SECONDS = 10;

/** Number of measurements of the heap, each after as many calls. One varies by 0.1 MB. */
const HEAP_POINTS = 11;

/** Number of measurements before these. During the first collections, the code that V8 compiles grows by 0.4 MB. */
const HEAP_WARM_UPS = 10;

/** The loads: the number of connections, and the request. */
const LOADS = {
  sequential: { connections: 1, body: SMALL_BODY },
  few: { connections: 32, body: SMALL_BODY },
  many: { connections: 256, body: SMALL_BODY },
  large: { connections: 32, body: LARGE_BODY },
} as const;

type LoadName = keyof typeof LOADS;

interface Sample extends WrkResult {
  /** Processor time of the gateway for a call, in µs. */
  readonly cpuUs: number;
}

type Samples = Readonly<Record<LoadName, Sample[]>>;

function load(contender: Contender, name: LoadName, seconds = SECONDS): Promise<WrkResult> {
  const { connections, body } = LOADS[name];
  const script = writeWrkScript({ headers: contender.headers, body });
  return runWrk(script, contender.url + CALL_PATH, { core: CLIENT_CORE, connections, seconds });
}

async function sample(contender: Contender, name: LoadName): Promise<Sample> {
  const pid = contender.process?.pid;
  const beforeUs = pid === undefined ? 0 : readProcessorUs(pid);
  const result = await load(contender, name);
  const afterUs = pid === undefined ? 0 : readProcessorUs(pid);
  return { ...result, cpuUs: (afterUs - beforeUs) / result.calls };
}

/** Makes calls until there were enough. Returns false if the gateway is too slow. */
async function makeCalls(contender: Contender, count: number): Promise<boolean> {
  let calls = 0;
  for (let seconds = 0; calls < count && seconds < MEMORY_SECONDS; seconds++) ({ calls } = await addCalls(calls));
  return calls >= count;

  async function addCalls(before: number): Promise<{ readonly calls: number }> {
    return { calls: before + (await load(contender, 'few', 1)).calls };
  }
}

/** Remark in the row of a gateway that did not finish a measurement of this file. */
const CALLS_UNFINISHED = 'calls did not finish';

/** Measures all contenders in alternating rounds. */
async function measureCalls(engine: string): Promise<Row[]> {
  const contenders = await startContenders(engine);
  const memory = new Map<string, Record<string, number>>();
  const samples = new Map(
    contenders.map(({ name }) => [name, { sequential: [], few: [], many: [], large: [] } as Samples]),
  );
  await forEachContender(contenders, samples, async (contender) => {
    const pid = contender.process?.pid;
    if (pid !== undefined && (await makeCalls(contender, MEMORY_CALLS)))
      memory.set(contender.name, { callsBytes: readResidentBytes(pid) });
  });
  for (let round = 0; round < ROUNDS; round++) {
    console.log(`round ${round + 1} of ${ROUNDS}`);
    for (const name of Object.keys(LOADS) as LoadName[])
      await forEachContender(contenders, samples, async (contender, own) => {
        own[name].push(await sample(contender, name));
      });
  }
  for (const contender of contenders) await contender.stop();
  return contenders.map(({ name: what }) => {
    const own = samples.get(what);
    return own
      ? { what, ...toFigures(what, own, samples), ...memory.get(what) }
      : { what, unfinished: CALLS_UNFINISHED, ...memory.get(what) };
  });
}

function toFigures(what: string, own: Samples, all: ReadonlyMap<string, Samples>): Record<string, number> {
  const [direct, ours] = [all.get('direct'), all.get(OURS)] as [Samples, Samples];
  const get = (samples: Samples, name: LoadName, figure: keyof Sample): number[] =>
    samples[name].map((each) => each[figure]);
  const median = (name: LoadName, figure: keyof Sample): number => roundFigure(computeMedian(get(own, name, figure)));
  const added = (figure: keyof Sample): number => {
    const base = get(direct, 'sequential', figure);
    return roundFigure(
      computeMedian(get(own, 'sequential', figure).map((value, round) => value - (base[round] as number))),
    );
  };
  const ofThis = (name: LoadName, figure: keyof Sample): number =>
    roundFigure(computeMedianRatio(get(ours, name, figure), get(own, name, figure)));
  const speed = { perSecond32: median('few', 'perSecond'), perSecond256: median('many', 'perSecond') };
  if (what === 'direct') return { p50Us: median('sequential', 'p50Us'), ...speed };
  const figures = {
    p50Us: median('sequential', 'p50Us'),
    addedP50Us: added('p50Us'),
    addedP99Us: added('p99Us'),
    ...speed,
    cpu32Us: median('few', 'cpuUs'),
    cpu256Us: median('many', 'cpuUs'),
    largeCpuUs: median('large', 'cpuUs'),
    p50OfThis: ofThis('sequential', 'p50Us'),
    cpu32OfThis: ofThis('few', 'cpuUs'),
    cpu256OfThis: ofThis('many', 'cpuUs'),
    perSecond32OfThis: ofThis('few', 'perSecond'),
    perSecond256OfThis: ofThis('many', 'perSecond'),
    largeCpuOfThis: ofThis('large', 'cpuUs'),
  };
  // Leaves out the figures of a load in which no call finished.
  return Object.fromEntries(Object.entries(figures).filter(([, figure]) => Number.isFinite(figure) && figure !== 0));
}

/** Measures by how many bytes the heap of a gateway that has warmed up grows with each call. */
async function measureHeapSlope(engine: string): Promise<number> {
  const file = join(mkdtempSync(join(tmpdir(), 'anyserve-heap-')), 'heap');
  const probe = `file://${getProjectPath('bench/built/heap-probe.mjs')}?file=${file}`;
  const gateway = await startContender(OURS, engine, ['--expose-gc', '--import', probe]);
  const sizes: number[] = [];
  for (let point = 0; point < HEAP_WARM_UPS + HEAP_POINTS; point++) {
    await makeCalls(gateway, MEMORY_CALLS);
    sizes.push(await readHeap(gateway, file));
  }
  await gateway.stop();
  return computeSlope(sizes.slice(HEAP_WARM_UPS)) / MEMORY_CALLS;
}

async function readHeap({ process: child }: Contender, file: string): Promise<number> {
  // `taskset` has become the gateway, so the signal reaches it.
  child?.kill('SIGUSR2');
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    try {
      const size = Number(readFileSync(file, 'utf8'));
      rmSync(file);
      return size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** Returns the slope of the line through equally distant points, by least squares. */
function computeSlope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const numerator = values.reduce((sum, value, index) => sum + (index - middle) * value, 0);
  return numerator / values.reduce((sum, _, index) => sum + (index - middle) ** 2, 0);
}

checkPrograms('bench:gateway', 'wrk', 'nginx', 'taskset');
if (process.argv.includes('--install')) installRivals();
const engine = await startEngine(CLIENT_CORE);
const calls = await measureCalls(engine);
const heapBytesPerCall = roundFigure(await measureHeapSlope(engine));
const streams = await measureStreams(ROUNDS);
/** A gateway that completed no call in a round has no figures for it. */
const omitInfinite = (row: Row): Row =>
  Object.fromEntries(
    Object.entries(row).filter(([, value]) => typeof value !== 'number' || Number.isFinite(value)),
  ) as Row;
/** Returns the figures for streams, and all that a gateway did not finish. */
function mergeUnfinished({ unfinished }: Row, streams: Omit<Row, 'what'>): Omit<Row, 'what'> {
  const all = [unfinished, streams['unfinished']].filter((each) => each !== undefined);
  return all.length > 0 ? { ...streams, unfinished: all.join('; ') } : streams;
}

const rows = calls.map((row) => ({
  ...omitInfinite(row),
  ...mergeUnfinished(row, streams.get(row.what) ?? {}),
  ...(row.what === OURS && { heapBytesPerCall }),
}));
report({
  name: 'gateway',
  rows,
  compared: {
    cpu32OfThis: 'less',
    cpu256OfThis: 'less',
    largeCpuOfThis: 'less',
    tokenCpuOfThis: 'less',
    callsBytes: 'less',
  },
});
process.exit();
