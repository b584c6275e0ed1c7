/**
 * Measures API servers that share a registry in etcd: the time until a change is at another server, compared with a bare watch of
 * etcd; registrations; the start of a server and a complete list; memory and CPU of the servers, their watchers and etcd; and
 * `GET /route` compared with a server without etcd. One etcd member and all processes run on this machine. Needs etcd and wrk.
 */
import { spawnSync } from 'node:child_process';
import { EtcdProcess, findEtcdProblem } from '../test/support/etcd-process.js';
import { ask, getBuiltCommand, type Started, start } from './child-process.js';
import { computeMedian, computeMedianRatio, computeQuantile, readMonotonicUs, roundFigure } from './figures.js';
import type { Memory } from './own-usage.js';
import { readProcessorUs, readResidentBytes } from './process-usage.js';
import { checkPrograms } from './programs.js';
import { getProjectPath } from './project-file.js';
import { type Row, report } from './report.js';
import { compareRouteCosts, type RouteCost } from './route-round.js';
import type { RelistCost, ScaleChanges, Timed } from './scale-server.js';
import { runWrk, writeWrkTargets } from './wrk.js';

const SIZES = [10_000, 100_000];
const PROPAGATION_SIZE = 10_000;
const CHANGES: ScaleChanges = { perSecond: 100, durationMs: 5000 };
const ROUNDS = 3;
/** Pairs of servers that are measured with `GET /route`, their replicas, and the rounds of each server. */
const ROUTE_PAIRS = 8;
const ROUTE_SIZE = 1000;
const ROUTE_WARM_UP_ROUNDS = 4;
const ROUTE_ROUNDS = 12;
const IDLE_MS = 10_000;
const WATCHERS = 1000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const toPercent = (cpuMs: number, durationMs: number): number => roundFigure((cpuMs / durationMs) * 100);

/** A process with an API server. */
interface Server extends Started {
  readonly port: number;
}

/** CPU time of processes, in ms. */
interface CpuTimes {
  readonly holder: number;
  readonly mirror: number;
  readonly etcd: number;
}

async function startServer(endpoint: string, count: number, core?: number): Promise<Server> {
  const options = core === undefined ? {} : { core };
  const started = await start(getBuiltCommand('scale-server', endpoint, String(count)), options);
  return { ...started, port: Number(started.line) };
}

async function waitForCount(server: Server, count: number): Promise<void> {
  while ((await ask<number>(server, 'count')) < count) await sleep(20);
}

/** A shared registry: a server that granted all leases, another one, and etcd. */
class Setup {
  readonly etcd: EtcdProcess;
  readonly holder: Server;
  readonly mirror: Server;

  private constructor(etcd: EtcdProcess, holder: Server, mirror: Server) {
    this.etcd = etcd;
    this.holder = holder;
    this.mirror = mirror;
  }

  static async start(count: number): Promise<Setup> {
    const etcd = await EtcdProcess.start({ isDurable: true, args: ['--quota-backend-bytes=4294967296'] });
    const holder = await startServer(etcd.endpoint, count);
    const mirror = await startServer(etcd.endpoint, 0);
    await ask(holder, 'load');
    await waitForCount(mirror, count);
    return new Setup(etcd, holder, mirror);
  }

  async readCpuTimes(): Promise<CpuTimes> {
    return {
      holder: await ask<number>(this.holder, 'cpuMs'),
      mirror: await ask<number>(this.mirror, 'cpuMs'),
      etcd: readProcessorUs(this.etcd.pid) / 1000,
    };
  }

  /** Measures the CPU of the three processes while `run` runs, in percent of a core. */
  async measureCpu(run: () => Promise<unknown>): Promise<CpuTimes> {
    const [before, startUs] = [await this.readCpuTimes(), readMonotonicUs()];
    await run();
    const [after, durationMs] = [await this.readCpuTimes(), (readMonotonicUs() - startUs) / 1000];
    return {
      holder: toPercent(after.holder - before.holder, durationMs),
      mirror: toPercent(after.mirror - before.mirror, durationMs),
      etcd: toPercent(after.etcd - before.etcd, durationMs),
    };
  }

  async stop(): Promise<void> {
    for (const { child } of [this.holder, this.mirror]) child.kill('SIGKILL');
    await this.etcd.kill();
  }
}

/** Measures the times from changes at one server until the other has them, in ms. */
async function measureDelays({ holder, mirror }: Setup, changes: ScaleChanges): Promise<number[]> {
  await ask(mirror, 'arrivals');
  const changedAtUs = new Map(await ask<Timed[]>(holder, 'change', changes));
  await sleep(1000);
  const arrivals = await ask<Timed[]>(mirror, 'arrivals');
  if (arrivals.length !== changedAtUs.size) throw new Error(`${changedAtUs.size} changes, ${arrivals.length} arrivals`);
  return arrivals.map(([n, atUs]) => (atUs - (changedAtUs.get(n) as number)) / 1000);
}

/** Compares the propagation of changes with a bare watch, in alternating rounds. */
async function measurePropagation(): Promise<Row[]> {
  const setup = await Setup.start(PROPAGATION_SIZE);
  const store: number[][] = [];
  const bare: number[][] = [];
  await ask(setup.mirror, 'watchBareKeys');
  for (let round = 0; round < ROUNDS; round++) {
    bare.push(await measureDelays(setup, { ...CHANGES, bare: true }));
    store.push(await measureDelays(setup, CHANGES));
  }
  await setup.stop();
  const ratio = (fraction: number): number => {
    const quantiles = (rounds: number[][]): number[] => rounds.map((delays) => computeQuantile(delays, fraction));
    return roundFigure(computeMedianRatio(quantiles(store), quantiles(bare)));
  };
  const toRow = (what: string, rounds: number[][]) => ({
    what,
    p50Ms: roundFigure(computeMedian(rounds.flat())),
    p99Ms: roundFigure(computeQuantile(rounds.flat(), 0.99)),
  });
  return [
    { ...toRow('a change at one server, seen by another', store), p50OfBare: ratio(0.5), p99OfBare: ratio(0.99) },
    toRow('a bare write and watch of etcd', bare),
  ];
}

/** Measures servers with this many records. */
async function measureSize(count: number): Promise<Row> {
  const setup = await Setup.start(count);
  const { holder, mirror, etcd } = setup;
  await sleep(2000);
  const startMs = await measureStart(etcd, count);
  const relist = await ask<RelistCost>(mirror, 'relist');
  const idle = await setup.measureCpu(() => sleep(IDLE_MS));
  const busy = await setup.measureCpu(() => ask(holder, 'change', { ...CHANGES, durationMs: IDLE_MS }));
  const [holderMemory, mirrorMemory] = [await ask<Memory>(holder, 'memory'), await ask<Memory>(mirror, 'memory')];
  const [status] = JSON.parse(await etcd.control('endpoint', 'status', '-w', 'json'));
  const row = {
    what: `${count} records`,
    startMs: roundFigure(startMs),
    relistMs: roundFigure(relist.tookMs),
    relistCpuMs: roundFigure(relist.cpuMs),
    relistStallMs: roundFigure(relist.stallMs),
    holderHeapBytes: holderMemory.heap,
    mirrorHeapBytes: mirrorMemory.heap,
    mirrorResidentBytes: mirrorMemory.resident,
    idleHolderCpuPercent: idle.holder,
    idleMirrorCpuPercent: idle.mirror,
    idleEtcdCpuPercent: idle.etcd,
    busyHolderCpuPercent: busy.holder,
    busyMirrorCpuPercent: busy.mirror,
    busyEtcdCpuPercent: busy.etcd,
    etcdResidentBytes: readResidentBytes(etcd.pid),
    etcdDatabaseBytes: Number(status.Status.dbSize),
  };
  await setup.stop();
  return row;
}

/** Starts the binary with this store. */
async function startBinary({ store, core }: { readonly store: string; readonly core?: number }): Promise<Server> {
  const options = ['--log-level', 'error', '--port', '0', '--store', store];
  const command = [process.execPath, getProjectPath('bin/anyserve.js'), 'serve', ...options] as const;
  const started = await start(command, { until: /listening on/, ...(core === undefined ? {} : { core }) });
  return { ...started, port: Number(started.line.split(':').at(-1)) };
}

/** Measures the time from the start of the binary until it answers with all records, in ms. */
async function measureStart(etcd: EtcdProcess, count: number): Promise<number> {
  const startUs = readMonotonicUs();
  const server = await startBinary({ store: `${etcd.address}/scale` });
  const url = server.line.split(' ').at(-1);
  const readPage = async (path: string): Promise<Response> => fetch(`${url}${path}`).catch(() => Response.error());
  while (!(await readPage('/readyz')).ok) await sleep(10);
  const durationMs = (readMonotonicUs() - startUs) / 1000;
  const { replicas } = (await (await readPage('/registry')).json()) as { replicas: unknown[] };
  if (replicas.length !== count) throw new Error(`a server is ready with ${replicas.length} of ${count} records`);
  server.child.kill('SIGKILL');
  return durationMs;
}

/** Measures 10,000 registrations over HTTP at a real server, until another one lists all. */
async function measureRegistrations(count: number): Promise<Row> {
  const etcd = await EtcdProcess.start({ isDurable: true });
  const server = await startBinary({ store: `${etcd.address}/scale` });
  const mirror = await startServer(etcd.endpoint, 0);
  const holder = await start(getBuiltCommand('lease-holder'));
  const startUs = readMonotonicUs();
  const grantedMs = await ask<number>(holder, 'open', { port: server.port, count, atOnce: 1000 });
  await waitForCount(mirror, count);
  const listedMs = (readMonotonicUs() - startUs) / 1000;
  for (const { child } of [server, mirror, holder]) child.kill('SIGKILL');
  await etcd.kill();
  return { what: `${count} registrations`, grantedMs: roundFigure(grantedMs), listedMs: roundFigure(listedMs) };
}

/** Measures what watchers cost a server whose changes come from another one. */
async function measureWatchers(): Promise<Row> {
  const setup = await Setup.start(PROPAGATION_SIZE);
  const { holder, mirror } = setup;
  const change = (): Promise<unknown> => ask(holder, 'change', { ...CHANGES, durationMs: IDLE_MS });
  const without = await setup.measureCpu(change);
  const before = await ask<Memory>(mirror, 'memory');
  const watchers = await start(getBuiltCommand('watch-holder'));
  await ask(watchers, 'open', { port: mirror.port, count: WATCHERS });
  // Snapshots are released 2 s after they were made.
  await sleep(3000);
  const after = await ask<Memory>(mirror, 'memory');
  const watched = await setup.measureCpu(change);
  watchers.child.kill('SIGKILL');
  await setup.stop();
  return {
    what: `${WATCHERS} watchers, 100 changes/s`,
    cpuPercent: roundFigure(watched.mirror - without.mirror),
    heapBytesEach: Math.round((after.heap - before.heap) / WATCHERS),
    residentBytesEach: Math.round((after.resident - before.resident) / WATCHERS),
  };
}

/** Sends `GET /route` to a server for a second. */
async function measureRouteRound({ child, port }: Server, script: string): Promise<RouteCost> {
  const pid = child.pid as number;
  const beforeUs = readProcessorUs(pid);
  const load = { core: 1, connections: 16, seconds: 1 };
  const { calls, perSecond } = await runWrk(script, `http://127.0.0.1:${port}`, load);
  return { perSecond, cpuUs: (readProcessorUs(pid) - beforeUs) / calls };
}

/** Two servers with the same replicas: one that shares its registry, and one that doesn't. */
const ROUTE_SERVERS = ['shared', 'alone'] as const;

type RouteCosts = Record<(typeof ROUTE_SERVERS)[number], RouteCost[]>;

/** Measures both servers in turn, after both have warmed up. Each has its own leases. */
async function measureRoutePair(script: string): Promise<RouteCosts> {
  const etcd = await EtcdProcess.start({ isDurable: true });
  const servers = {
    shared: await startBinary({ store: `${etcd.address}/scale`, core: 0 }),
    alone: await startBinary({ store: 'memory', core: 0 }),
  };
  const holders: Started[] = [];
  for (const name of ROUTE_SERVERS) {
    const holder = await start(getBuiltCommand('lease-holder'));
    await ask(holder, 'open', { port: servers[name].port, count: ROUTE_SIZE });
    holders.push(holder);
  }
  const costs: RouteCosts = { shared: [], alone: [] };
  for (let round = 0; round < ROUTE_WARM_UP_ROUNDS + ROUTE_ROUNDS; round++) {
    for (const name of round % 2 === 0 ? ROUTE_SERVERS : ROUTE_SERVERS.toReversed()) {
      const cost = await measureRouteRound(servers[name], script);
      if (round >= ROUTE_WARM_UP_ROUNDS) costs[name].push(cost);
    }
  }
  for (const { child } of [...Object.values(servers), ...holders]) child.kill('SIGKILL');
  await etcd.kill();
  return costs;
}

/**
 * Compares `GET /route` of the binary with a shared registry and with one in memory. Two processes of the same kind differ by several
 * percent, so there are several pairs of them.
 */
async function measureRoute(): Promise<Row> {
  const queries = Array.from({ length: 200 }, (_, n) => `/route?model=model-${n}&type=type-${n % 5}`);
  const script = writeWrkTargets(queries);
  // The servers get the other core. What this process starts inherits its core.
  spawnSync('taskset', ['-cp', '1', String(process.pid)]);
  const costs: RouteCosts = { shared: [], alone: [] };
  for (let pair = 0; pair < ROUTE_PAIRS; pair++) {
    const measured = await measureRoutePair(script);
    for (const name of ROUTE_SERVERS) costs[name].push(...measured[name]);
  }
  const { perSecond, cpuUs, rateOfBase, cpuOfBase } = compareRouteCosts(costs.shared, costs.alone);
  return {
    what: `GET /route, ${ROUTE_SIZE} replicas`,
    perSecond: Math.round(perSecond),
    ofMemoryStore: roundFigure(rateOfBase),
    cpuUs: roundFigure(cpuUs),
    cpuOfMemoryStore: roundFigure(cpuOfBase),
  };
}

/** The parts of the benchmark, by name. All are measured unless some are named. */
const PARTS: Readonly<Record<string, () => Promise<Row[]>>> = {
  propagation: measurePropagation,
  registrations: async () => [await measureRegistrations(10_000)],
  watchers: async () => [await measureWatchers()],
  ...Object.fromEntries(SIZES.map((count) => [String(count), async () => [await measureSize(count)]])),
  // The last one, because it keeps this process on one core.
  route: async () => [await measureRoute()],
};

checkPrograms('bench:scale', 'wrk', 'taskset');
const problem = findEtcdProblem();
if (problem !== undefined) throw new Error(problem);
const names = process.argv.slice(2);
const rows: Row[] = [];
for (const [name, measure] of Object.entries(PARTS)) {
  if (names.length === 0 || names.includes(name)) rows.push(...(await measure()));
}
report({
  name: 'scale',
  rows,
  compared: { p99OfBare: 'less', listedMs: 'less', startMs: 'less', relistCpuMs: 'less', cpuOfMemoryStore: 'less' },
});
process.exit();
