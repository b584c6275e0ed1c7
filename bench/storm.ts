/**
 * A registration storm, as after the restart of an API server: all replicas of a fleet come at once. How long until all
 * are there, how many registrations that is a second, and what callers of `/route` see meanwhile; against a bare server
 * of node:http that answers each with the first bytes of a stream.
 */
import { connect } from 'node:net';
import { ask, built, start } from './child-process.js';
import { median, nowUs, quantile, rounded } from './figures.js';
import { type Row, report } from './report.js';

const COUNT = Number(process.argv[2] ?? 10_000);
const ROUNDS = 7;
const AT_ONCE = 1000;

/** Asks for a route over and over until it is stopped; resolves to the times of the answers, in milliseconds. */
function caller(port: number): { stop(): number[] } {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  const timesMs: number[] = [];
  let sentUs = 0;
  const send = (): void => {
    sentUs = nowUs();
    socket.write('GET /route?model=model-7 HTTP/1.1\r\nHost: localhost\r\n\r\n');
  };
  socket.once('connect', send).on('error', () => {});
  socket.on('data', (chunk) => {
    if (!chunk.includes('}')) return;
    timesMs.push((nowUs() - sentUs) / 1000);
    setTimeout(send, 1);
  });
  return {
    stop() {
      socket.destroy();
      return timesMs;
    },
  };
}

/** How long a storm took, and the times of routes meanwhile: none of a bare server, which knows none. */
interface Storm {
  readonly allMs: number;
  readonly routesMs: readonly number[];
}

/** One storm on a new server. */
async function storm(kind: 'anyserve' | 'bare'): Promise<Storm> {
  const server = await start(built('lease-server', kind, '2000'), { core: 0 });
  const holder = await start(built('lease-holder'), { core: 1 });
  const port = Number(server.line);
  const calling = kind === 'anyserve' ? caller(port) : undefined;
  const allMs = await ask<number>(holder, 'open', { port, count: COUNT, atOnce: AT_ONCE });
  const routesMs = calling?.stop() ?? [];
  await ask(holder, 'cutAll');
  holder.child.kill();
  server.child.kill();
  return { allMs, routesMs };
}

const storms: Record<'bare' | 'anyserve', Storm[]> = { bare: [], anyserve: [] };
for (let round = 0; round < ROUNDS; round++) {
  for (const kind of ['bare', 'anyserve'] as const) storms[kind].push(await storm(kind));
}
const bareMs = median(storms.bare.map(({ allMs }) => allMs));
const rows: Row[] = (['bare', 'anyserve'] as const).map((kind) => {
  const allMs = median(storms[kind].map((one) => one.allMs));
  return {
    what: `${kind}, ${COUNT} replicas`,
    allMs: Math.round(allMs),
    perSecond: Math.round((COUNT * 1000) / allMs),
    ofBare: rounded(bareMs / allMs),
    ...(kind === 'anyserve' && {
      routeP99Ms: rounded(median(storms[kind].map(({ routesMs }) => quantile(routesMs, 0.99)))),
      routeMostMs: rounded(median(storms[kind].map(({ routesMs }) => quantile(routesMs, 1)))),
    }),
  };
});
report({ name: 'storm', rows, compared: { ofBare: 'more', routeP99Ms: 'less' } });
process.exit();
