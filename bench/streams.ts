/**
 * Measures 10,000 open leases: memory, CPU, delays of heartbeats, the effect on `/route`, and the time to remove leases
 * whose connections are cut. The baseline is a bare node:http server that holds the same streams and sends the same
 * heartbeats. Servers run on core 0, the processes that hold the leases on core 1.
 */
import { connect, type Socket } from 'node:net';
import { ask, getBuiltCommand, type Started, start } from './child-process.js';
import { computeMedian, computeMedianRatio, computeQuantile, readMonotonicUs, roundFigure } from './figures.js';
import type { Lateness, Opening } from './lease-holder.js';
import type { Memory } from './own-usage.js';
import { type Row, report } from './report.js';

const COUNT = Number(process.argv[2] ?? 10_000);
const HEARTBEAT_MS = 5000;
const CPU_MS = 5000;
const CPU_ROUNDS = 9;
const ROUTE_MS = 500;
const ROUTE_WARM_ROUNDS = 4;
const ROUTE_ROUNDS = 21;
const CONNECTIONS = 4;
const CUTS = 50;
const ALL_CUT_ROUNDS = 7;

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** A server with open leases, and the process that holds them. */
interface Fleet {
  readonly server: Started;
  readonly holder: Started;
  readonly port: number;
  /** Memory that each stream added, in bytes. */
  readonly heapEach: number;
  readonly residentEach: number;
  /** CPU time of the server to open a lease, in ms. */
  readonly openMs: number;
}

async function startFleet(kind: 'anyserve' | 'bare', opening: Omit<Opening, 'port'>): Promise<Fleet> {
  const scheme = opening.isSecure ? 'https' : 'http';
  const server = await start(getBuiltCommand('lease-server', kind, String(HEARTBEAT_MS), scheme), { core: 0 });
  const port = Number(server.line);
  const [warming, holder] = [
    await start(getBuiltCommand('lease-holder'), { core: 1 }),
    await start(getBuiltCommand('lease-holder'), { core: 1 }),
  ];
  await ask(warming, 'open', { ...opening, port, count: Math.min(300, opening.count) });
  await ask(warming, 'cutAll');
  await pause(300);
  warming.child.kill();
  const before = await ask<Memory>(server, 'memory');
  const beforeMs = await ask<number>(server, 'cpuMs');
  await ask(holder, 'open', { ...opening, port });
  const openMs = ((await ask<number>(server, 'cpuMs')) - beforeMs) / opening.count;
  const after = await ask<Memory>(server, 'memory');
  return {
    server,
    holder,
    port,
    heapEach: (after.heap - before.heap) / opening.count,
    residentEach: (after.resident - before.resident) / opening.count,
    openMs,
  };
}

async function stopFleet({ server, holder }: Fleet): Promise<void> {
  await ask(holder, 'cutAll');
  holder.child.kill();
  server.child.kill();
}

/** Measures the CPU usage of several servers over the same periods, in percent of a core. */
async function measureCpuPercents(fleets: readonly Fleet[]): Promise<number[][]> {
  const used = (): Promise<number[]> => Promise.all(fleets.map(({ server }) => ask<number>(server, 'cpuMs')));
  const rounds: number[][] = [];
  for (let round = 0; round < CPU_ROUNDS; round++) {
    const [before, startUs] = [await used(), readMonotonicUs()];
    await pause(CPU_MS);
    const [after, spanMs] = [await used(), (readMonotonicUs() - startUs) / 1000];
    rounds.push(after.map((ms, index) => ((ms - (before[index] as number)) / spanMs) * 100));
  }
  return fleets.map((_, index) => rounds.map((round) => round[index] as number));
}

function connectRouteClient(port: number): { ask(query: string): Promise<string>; socket: Socket } {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  let takeResponse = (_text: string): void => {};
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    // The head can arrive in a separate chunk.
    if (text.endsWith('}')) takeResponse(text);
  });
  return {
    socket,
    ask: (query) =>
      new Promise((resolve) => {
        takeResponse = resolve;
        text = '';
        socket.write(`GET /route?${query} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      }),
  };
}

/** Measures the 99th percentile of the latency of `/route` over 4 connections, in µs. */
async function measureRouteP99(port: number): Promise<number> {
  const timesUs: number[] = [];
  const endUs = readMonotonicUs() + ROUTE_MS * 1000;
  const one = async (_: unknown, n: number): Promise<void> => {
    const { ask: route, socket } = connectRouteClient(port);
    for (let number = n; readMonotonicUs() < endUs; number++) {
      const startUs = readMonotonicUs();
      await route(`model=model-${number % 200}&type=type-${number % 5}`);
      timesUs.push(readMonotonicUs() - startUs);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
  return computeQuantile(timesUs, 0.99);
}

/** Runs a function while another server is stopped, so that its heartbeats don't disturb the measurement. Then lets it catch up. */
async function whileStopped<T>({ server }: Fleet, work: () => Promise<T>): Promise<T> {
  server.child.kill('SIGSTOP');
  try {
    return await work();
  } finally {
    server.child.kill('SIGCONT');
    await pause(500);
  }
}

const isMiss = (answer: string): boolean => answer.startsWith('HTTP/1.1 404');

/** Cuts connections and measures the time until `/route` no longer returns their replicas, in ms. */
async function measureRemovalMs({ port, holder }: Fleet, cut: string, about: unknown, query: string): Promise<number> {
  const { ask: route, socket } = connectRouteClient(port);
  if (isMiss(await route(query))) throw new Error(`no replica matches ${query}`);
  const cutAtUs = await ask<number>(holder, cut, about);
  while (!isMiss(await route(query)));
  socket.destroy();
  return (readMonotonicUs() - cutAtUs) / 1000;
}

const measureCutAllMs = (fleet: Fleet): Promise<number> => measureRemovalMs(fleet, 'cutAll', undefined, '');

const rows: Row[] = [];
const formatCost = ({ heapEach, residentEach, openMs }: Fleet) => ({
  heapBytesEach: Math.round(heapEach),
  residentBytesEach: Math.round(residentEach),
  openMs: roundFigure(openMs),
});
const measureLateness = async ({ holder }: Fleet) => {
  const { p50Ms, p99Ms, maxMs } = await ask<Lateness>(holder, 'lateness', HEARTBEAT_MS);
  return { lateP50Ms: roundFigure(p50Ms), lateP99Ms: roundFigure(p99Ms), lateMaxMs: roundFigure(maxMs) };
};

/** TTL of two-way leases, in seconds. Long, so that no lease expires on a machine that is too slow to renew all in time. */
const TTL_S = 60;

const KINDS: Readonly<Record<string, Omit<Opening, 'port' | 'count'>>> = {
  'one-way': {},
  'two-way, renewed every 5 s': { ttlS: TTL_S, renewEveryMs: 5000 },
  'two-way, renewed every 3 s': { ttlS: TTL_S, renewEveryMs: 3000 },
  'one-way, over TLS': { isSecure: true },
};
for (const [what, kind] of Object.entries(KINDS)) {
  const opening = { ...kind, count: COUNT };
  const [bare, ours] = [await startFleet('bare', opening), await startFleet('anyserve', opening)];
  // Skips the first heartbeats: the garbage collection that precedes the memory measurement can delay them.
  await pause(HEARTBEAT_MS + 1000);
  await Promise.all([bare, ours].map(measureLateness));
  const [bareCpu, oursCpu] = (await measureCpuPercents([bare, ours])) as [number[], number[]];
  const bareRow = { cpuPercent: roundFigure(computeMedian(bareCpu)), ...(await measureLateness(bare)) };
  const cpuOfBare = roundFigure(computeMedianRatio(oursCpu, bareCpu));
  const oursRow = { cpuPercent: roundFigure(computeMedian(oursCpu)), cpuOfBare, ...(await measureLateness(ours)) };
  const isPlain = what === 'one-way';
  const loadAndRemoval = isPlain ? await whileStopped(bare, () => measureLoadAndCuts(ours)) : {};
  const cuts = isPlain ? await measureAllCut([bare, ours]) : [];
  await stopFleet(bare);
  await stopFleet(ours);
  rows.push({ what: `bare, ${what}`, ...formatCost(bare), ...bareRow });
  rows.push({ what: `anyserve, ${what}`, ...formatCost(ours), ...oursRow, ...loadAndRemoval }, ...cuts);
}
report({
  name: 'streams',
  rows,
  compared: {
    heapBytesEach: 'less',
    cpuOfBare: 'less',
    routeP99OfNoStreams: 'less',
    cutMs: 'less',
    allCutOfBare: 'less',
  },
});
process.exit();

/** Measures the effect of the streams on `/route` against a server with 200 leases, and the time to remove cut leases. */
async function measureLoadAndCuts(ours: Fleet): Promise<Record<string, number>> {
  const few = await startFleet('anyserve', { count: 200 });
  const [withStreams, without]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUTE_WARM_ROUNDS; round++)
    await Promise.all([measureRouteP99(few.port), measureRouteP99(ours.port)]);
  for (let round = 0; round < ROUTE_ROUNDS; round++) {
    without.push(await whileStopped(ours, () => measureRouteP99(few.port)));
    withStreams.push(await whileStopped(few, () => measureRouteP99(ours.port)));
  }
  await stopFleet(few);
  const cutsMs: number[] = [];
  for (let n = 0; n < CUTS; n++) cutsMs.push(await measureRemovalMs(ours, 'cut', n, `number=${n}`));
  return {
    routeP99Us: Math.round(computeMedian(withStreams)),
    routeP99OfNoStreams: roundFigure(computeMedianRatio(withStreams, without)),
    cutMs: roundFigure(computeMedian(cutsMs)),
  };
}

/** Measures the time to remove all leases when all are cut at once, against the bare server. Opens all again after each round. */
async function measureAllCut([bare, ours]: readonly [Fleet, Fleet]): Promise<Row[]> {
  const [bareMs, oursMs]: [number[], number[]] = [[], []];
  for (let round = 0; round < ALL_CUT_ROUNDS; round++) {
    bareMs.push(await measureCutAllMs(bare));
    oursMs.push(await measureCutAllMs(ours));
    for (const { holder, port } of [bare, ours]) await ask(holder, 'open', { port, count: COUNT });
  }
  return [
    { what: `bare, ${COUNT} cut at once`, allCutMs: Math.round(computeMedian(bareMs)) },
    {
      what: `anyserve, ${COUNT} cut at once`,
      allCutMs: Math.round(computeMedian(oursMs)),
      allCutOfBare: roundFigure(computeMedianRatio(oursMs, bareMs)),
    },
  ];
}
