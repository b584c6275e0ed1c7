/**
 * Measures a registration storm: all replicas of a fleet register at once, as after the restart of an API server. Measures
 * the time until all are registered, the registrations per second, and the latency of `/route` meanwhile. The baseline is a
 * bare node:http server that responds to each registration with the first bytes of a stream.
 */
import { connect } from 'node:net';
import { ask, getBuiltCommand, start } from './child-process.js';
import { computeMedian, computeQuantile, readMonotonicUs, roundFigure } from './figures.js';
import { type Row, report } from './report.js';

const COUNT = Number(process.argv[2] ?? 10_000);
const ROUNDS = 7;
const CONCURRENCY = 1000;

/** Sends `/route` requests until it is stopped. `stop` returns their latencies in ms. */
function startCaller(port: number): { stop(): number[] } {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  const timesMs: number[] = [];
  let sentUs = 0;
  const send = (): void => {
    sentUs = readMonotonicUs();
    socket.write('GET /route?model=model-7 HTTP/1.1\r\nHost: localhost\r\n\r\n');
  };
  socket.once('connect', send).on('error', () => {});
  socket.on('data', (chunk) => {
    if (!chunk.includes('}')) return;
    timesMs.push((readMonotonicUs() - sentUs) / 1000);
    setTimeout(send, 1);
  });
  return {
    stop() {
      socket.destroy();
      return timesMs;
    },
  };
}

/** Duration of a storm, and the latencies of `/route` meanwhile. The bare server has no `/route`. */
interface Storm {
  readonly allMs: number;
  readonly routesMs: readonly number[];
}

/** Runs one storm on a new server. */
async function runStorm(kind: 'anyserve' | 'bare'): Promise<Storm> {
  const server = await start(getBuiltCommand('lease-server', kind, '2000'), { core: 0 });
  const holder = await start(getBuiltCommand('lease-holder'), { core: 1 });
  const port = Number(server.line);
  const calling = kind === 'anyserve' ? startCaller(port) : undefined;
  const allMs = await ask<number>(holder, 'open', { port, count: COUNT, atOnce: CONCURRENCY });
  const routesMs = calling?.stop() ?? [];
  await ask(holder, 'cutAll');
  holder.child.kill();
  server.child.kill();
  return { allMs, routesMs };
}

const storms: Record<'bare' | 'anyserve', Storm[]> = { bare: [], anyserve: [] };
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of ['bare', 'anyserve'] as const) storms[kind].push(await runStorm(kind));
}
const bareMs = computeMedian(storms.bare.map(({ allMs }) => allMs));
const rows: Row[] = (['bare', 'anyserve'] as const).map((kind) => {
  const allMs = computeMedian(storms[kind].map((one) => one.allMs));
  return {
    what: `${kind}, ${COUNT} replicas`,
    allMs: Math.round(allMs),
    perSecond: Math.round((COUNT * 1000) / allMs),
    ofBare: roundFigure(bareMs / allMs),
    ...(kind === 'anyserve' && {
      routeP99Ms: roundFigure(computeMedian(storms[kind].map(({ routesMs }) => computeQuantile(routesMs, 0.99)))),
      routeMaxMs: roundFigure(computeMedian(storms[kind].map(({ routesMs }) => computeQuantile(routesMs, 1)))),
    }),
  };
});
report({ name: 'storm', rows, compared: { ofBare: 'more', routeP99Ms: 'less' } });
process.exit();
