/**
 * Measures what metrics cost `GET /route`, in processor time of the API server per request: without metrics, with metrics, and after
 * a scrape, which starts prom-client's observers. Each value is that of several processes, of which only one runs at a time: the
 * difference between two processes of the same kind is larger than the cost of metrics.
 */
import { spawnSync } from 'node:child_process';
import { getBuiltCommand, start } from './child-process.js';
import { roundFigure } from './figures.js';
import { report } from './report.js';
import { compareRouteCosts, measureRouteCost, type RouteCost } from './route-round.js';

const REPLICAS = 10_000;
/** Processes of each kind. */
const PROCESSES = 24;

/**
 * The kinds of servers. Each gets one request with other headers first: in V8, it could make later requests slower, as the scrape could.
 */
const KINDS = [
  { what: 'without metrics', server: 'anyserve without metrics', path: '/health' },
  { what: 'with metrics', server: 'anyserve', path: '/health' },
  { what: 'with metrics, after a scrape', server: 'anyserve', path: '/metrics' },
];

async function measureProcess({ server, path }: (typeof KINDS)[number]): Promise<RouteCost> {
  const { line, child } = await start(getBuiltCommand('route-server', server, String(REPLICAS)), { core: 0 });
  const port = Number(line);
  await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  const cost = await measureRouteCost(child.pid as number, port, REPLICAS);
  child.kill();
  return cost;
}

async function measure(): Promise<void> {
  spawnSync('taskset', ['-cp', '1', String(process.pid)]);
  const costs = new Map(KINDS.map((kind): [(typeof KINDS)[number], RouteCost[]] => [kind, []]));
  for (let turn = 0; turn < PROCESSES; turn++) {
    const inTurn = [...costs];
    for (const [kind, list] of turn % 2 === 0 ? inTurn : inTurn.reverse()) list.push(await measureProcess(kind));
  }
  const [base = []] = costs.values();
  const rows = [...costs].map(([{ what }, list]) => {
    const { cpuUs, cpuOfBase } = compareRouteCosts(list, base);
    return { what, cpuUs: roundFigure(cpuUs), ofBase: roundFigure(cpuOfBase) };
  });
  report({ name: 'metrics', rows, compared: { ofBase: 'less' } });
}

await measure();
process.exit();
