/**
 * Measures `GET /route` of the API server against a bare node:http server with a constant response, the same app on
 * unmodified express, and equivalent servers on fastify and FastAPI: requests per second and latencies, on one core, in
 * alternating rounds. Connections are kept alive, with one request at a time on each.
 */
import { spawnSync } from 'node:child_process';
import { getBuiltCommand, start } from './child-process.js';
import { computeMedian, computeMedianRatio, computeQuantile, roundFigure } from './figures.js';
import { getProjectPath } from './project-file.js';
import { report } from './report.js';
import { type RouteRound, runRouteRound } from './route-round.js';

/** Pause after each round, in which its server finishes remaining work such as garbage collection. */
const PAUSE_MS = 100;
const ROUNDS = 15;

/** Starts a server in a separate process on core 0, and resolves to its port. */
async function startServer(kind: string, size: number): Promise<number> {
  const command: [string, ...string[]] =
    kind === 'FastAPI'
      ? [PYTHON, getProjectPath('bench/route_fastapi.py'), String(size)]
      : getBuiltCommand('route-server', kind, String(size));
  return Number((await start(command, { core: 0 })).line);
}

/** Debian's Python. Its packages python3-fastapi and python3-uvicorn are what the Python server is built on. */
const PYTHON = '/usr/bin/python3';

function hasFastApi(): boolean {
  const isInstalled = spawnSync(PYTHON, ['-c', 'import fastapi, uvicorn']).status === 0;
  if (!isInstalled) console.log('FastAPI is skipped: install python3-fastapi and python3-uvicorn to measure it');
  return isInstalled;
}

async function measure(): Promise<void> {
  spawnSync('taskset', ['-cp', '1', String(process.pid)]);
  const kinds: [string, number][] = [['bare', 0]];
  for (const size of [1, 10_000, 100_000]) kinds.push(['anyserve', size], ['fastify', size]);
  kinds.push(['ordinary express', 10_000]);
  if (hasFastApi()) kinds.push(['FastAPI', 1], ['FastAPI', 10_000]);
  const servers: { kind: string; size: number; port: number; rounds: RouteRound[] }[] = [];
  for (const [kind, size] of kinds) servers.push({ kind, size, port: await startServer(kind, size), rounds: [] });
  for (const { port, size } of servers) await runRouteRound(port, size);
  for (let round = 0; round < ROUNDS; round++)
    for (const server of servers) {
      server.rounds.push(await runRouteRound(server.port, server.size));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  const bare = servers[0] as (typeof servers)[0];
  const rows = servers.map(({ kind, size, rounds }) => {
    const times = rounds.flatMap(({ timesUs }) => timesUs);
    const perSecond = rounds.map((round) => round.perSecond);
    return {
      what: size > 0 ? `${kind}, ${size} replicas` : kind,
      perSecond: Math.round(computeMedian(perSecond)),
      ofBare: roundFigure(
        computeMedianRatio(
          perSecond,
          bare.rounds.map((round) => round.perSecond),
        ),
      ),
      p50Us: Math.round(computeMedian(times)),
      p99Us: Math.round(computeQuantile(times, 0.99)),
      p99OfBare: roundFigure(computeMedianRatio(rounds.map(getP99), bare.rounds.map(getP99))),
    };
  });
  report({ name: 'route', rows, compared: { ofBare: 'more', p99OfBare: 'less' } });
}

const getP99 = ({ timesUs }: RouteRound): number => computeQuantile(timesUs, 0.99);

await measure();
process.exit();
