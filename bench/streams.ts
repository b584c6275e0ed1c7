/**
 * Open leases: what 10,000 streams take of memory and of a core, how late their heartbeats come, what they cost
 * `/route`, and how long it takes until cut ones are gone; against a bare server of node:http that keeps the same
 * streams and sends the same heartbeats. The servers are on one core, whoever holds the leases on another.
 */
import { connect, type Socket } from 'node:net';
import { ask, built, type Started, start } from './child-process.js';
import { median, medianRatio, nowUs, quantile, rounded } from './figures.js';
import type { Lateness, Opening } from './lease-holder.js';
import type { Memory } from './lease-server.js';
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

/** A server with so many leases open, and who holds them. */
interface Fleet {
  readonly server: Started;
  readonly holder: Started;
  readonly port: number;
  /** What each stream added, in bytes. */
  readonly heapEach: number;
  readonly residentEach: number;
  /** What each took of the processor until it was open, in milliseconds. */
  readonly openMs: number;
}

async function fleet(kind: 'anyserve' | 'bare', opening: Omit<Opening, 'port'>): Promise<Fleet> {
  const scheme = opening.isSecure ? 'https' : 'http';
  const server = await start(built('lease-server', kind, String(HEARTBEAT_MS), scheme), { core: 0 });
  const port = Number(server.line);
  const [warming, holder] = [
    await start(built('lease-holder'), { core: 1 }),
    await start(built('lease-holder'), { core: 1 }),
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

async function end({ server, holder }: Fleet): Promise<void> {
  await ask(holder, 'cutAll');
  holder.child.kill();
  server.child.kill();
}

/** The share of a core that each of some servers takes, in percent, in the same spans of time. */
async function cpuPercents(fleets: readonly Fleet[]): Promise<number[][]> {
  const used = (): Promise<number[]> => Promise.all(fleets.map(({ server }) => ask<number>(server, 'cpuMs')));
  const rounds: number[][] = [];
  for (let round = 0; round < CPU_ROUNDS; round++) {
    const [before, startUs] = [await used(), nowUs()];
    await pause(CPU_MS);
    const [after, spanMs] = [await used(), (nowUs() - startUs) / 1000];
    rounds.push(after.map((ms, at) => ((ms - (before[at] as number)) / spanMs) * 100));
  }
  return fleets.map((_, at) => rounds.map((round) => round[at] as number));
}

function asking(port: number): { ask(query: string): Promise<string>; socket: Socket } {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  let answered = (_text: string): void => {};
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    // The head may come by itself.
    if (text.endsWith('}')) answered(text);
  });
  return {
    socket,
    ask: (query) =>
      new Promise((resolve) => {
        answered = resolve;
        text = '';
        socket.write(`GET /route?${query} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      }),
  };
}

/** The 99th percentile of the times of `/route`, asked for over a few connections, in microseconds. */
async function routeP99(port: number): Promise<number> {
  const timesUs: number[] = [];
  const endUs = nowUs() + ROUTE_MS * 1000;
  const one = async (_: unknown, n: number): Promise<void> => {
    const { ask: route, socket } = asking(port);
    for (let at = n; nowUs() < endUs; at++) {
      const startUs = nowUs();
      await route(`model=model-${at % 200}&type=type-${at % 5}`);
      timesUs.push(nowUs() - startUs);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
  return quantile(timesUs, 0.99);
}

/** Does something while a server stands still, whose heartbeats are not to be in the way; it has caught up after it. */
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

/** How long it takes from a cut until no route leads there any more, in milliseconds. */
async function removalMs({ port, holder }: Fleet, cut: string, about: unknown, query: string): Promise<number> {
  const { ask: route, socket } = asking(port);
  if (isMiss(await route(query))) throw new Error(`nothing answers ${query}`);
  const cutAtUs = await ask<number>(holder, cut, about);
  while (!isMiss(await route(query)));
  socket.destroy();
  return (nowUs() - cutAtUs) / 1000;
}

const cutAllMs = (fleet: Fleet): Promise<number> => removalMs(fleet, 'cutAll', undefined, '');

const rows: Row[] = [];
const costOf = ({ heapEach, residentEach, openMs }: Fleet) => ({
  heapBytesEach: Math.round(heapEach),
  residentBytesEach: Math.round(residentEach),
  openMs: rounded(openMs),
});
const latenessOf = async ({ holder }: Fleet) => {
  const { p50Ms, p99Ms, mostMs } = await ask<Lateness>(holder, 'lateness', HEARTBEAT_MS);
  return { lateP50Ms: rounded(p50Ms), lateP99Ms: rounded(p99Ms), lateMostMs: rounded(mostMs) };
};

/** TTL of two-way leases, in seconds. Long, so that no lease expires on a machine that is too slow to renew them in time. */
const TTL_S = 60;

const KINDS: Readonly<Record<string, Omit<Opening, 'port' | 'count'>>> = {
  'one-way': {},
  'two-way, renewed every 5 s': { ttlS: TTL_S, renewEveryMs: 5000 },
  'two-way, renewed every 3 s': { ttlS: TTL_S, renewEveryMs: 3000 },
  'one-way, over TLS': { isSecure: true },
};
for (const [what, kind] of Object.entries(KINDS)) {
  const opening = { ...kind, count: COUNT };
  const [bare, ours] = [await fleet('bare', opening), await fleet('anyserve', opening)];
  // The first heartbeat of each may have waited for the garbage that was collected to measure memory.
  await pause(HEARTBEAT_MS + 1000);
  await Promise.all([bare, ours].map(latenessOf));
  const [bareCpu, oursCpu] = (await cpuPercents([bare, ours])) as [number[], number[]];
  const bareRow = { cpuPercent: rounded(median(bareCpu)), ...(await latenessOf(bare)) };
  const cpuOfBare = rounded(medianRatio(oursCpu, bareCpu));
  const oursRow = { cpuPercent: rounded(median(oursCpu)), cpuOfBare, ...(await latenessOf(ours)) };
  const isPlain = what === 'one-way';
  const besides = isPlain ? await whileStopped(bare, () => loadAndCuts(ours)) : {};
  const cuts = isPlain ? await allCut([bare, ours]) : [];
  await end(bare);
  await end(ours);
  rows.push({ what: `bare, ${what}`, ...costOf(bare), ...bareRow });
  rows.push({ what: `anyserve, ${what}`, ...costOf(ours), ...oursRow, ...besides }, ...cuts);
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

/** What the streams cost `/route`, beside a server of 200 replicas, and how soon cut ones are gone. */
async function loadAndCuts(ours: Fleet): Promise<Record<string, number>> {
  const few = await fleet('anyserve', { count: 200 });
  const [withStreams, without]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUTE_WARM_ROUNDS; round++) await Promise.all([routeP99(few.port), routeP99(ours.port)]);
  for (let round = 0; round < ROUTE_ROUNDS; round++) {
    without.push(await whileStopped(ours, () => routeP99(few.port)));
    withStreams.push(await whileStopped(few, () => routeP99(ours.port)));
  }
  await end(few);
  const cutsMs: number[] = [];
  for (let n = 0; n < CUTS; n++) cutsMs.push(await removalMs(ours, 'cut', n, `number=${n}`));
  return {
    routeP99Us: Math.round(median(withStreams)),
    routeP99OfNoStreams: rounded(medianRatio(withStreams, without)),
    cutMs: rounded(median(cutsMs)),
  };
}

/** How soon a fleet is gone when all of it is cut at once, and how soon a bare server notices. All are opened again each time. */
async function allCut([bare, ours]: readonly [Fleet, Fleet]): Promise<Row[]> {
  const [bareMs, oursMs]: [number[], number[]] = [[], []];
  for (let round = 0; round < ALL_CUT_ROUNDS; round++) {
    bareMs.push(await cutAllMs(bare));
    oursMs.push(await cutAllMs(ours));
    for (const { holder, port } of [bare, ours]) await ask(holder, 'open', { port, count: COUNT });
  }
  return [
    { what: `bare, ${COUNT} cut at once`, allCutMs: Math.round(median(bareMs)) },
    {
      what: `anyserve, ${COUNT} cut at once`,
      allCutMs: Math.round(median(oursMs)),
      allCutOfBare: rounded(medianRatio(oursMs, bareMs)),
    },
  ];
}
