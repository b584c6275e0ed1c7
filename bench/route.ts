/**
 * `GET /route` of the API server, against a bare server of node:http that answers a constant, against the same app on
 * an ordinary express, and against fastify and FastAPI doing the same: requests a second and times, on one core, in
 * turns. Connections are kept, and each sends its next request when the last is answered.
 */
import { spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { built, start } from './child-process.js';
import { median, medianRatio, nowUs, quantile, rounded } from './figures.js';
import { projectFile } from './project-file.js';
import { report } from './report.js';

const CONNECTIONS = 16;
const ROUND_MS = 500;
/** So long after a round there may still be something that its server has left to do. */
const PAUSE_MS = 100;
const ROUNDS = 15;

interface Round {
  readonly perSecond: number;
  readonly timesUs: readonly number[];
}

/** Asks for what is there, as fast as the answers come, over all connections. */
function load(port: number, size: number): Promise<Round> {
  return new Promise((resolve, reject) => {
    const timesUs: number[] = [];
    const endUs = nowUs() + ROUND_MS * 1000;
    let open = CONNECTIONS;
    for (let n = 0; n < CONNECTIONS; n++) {
      const socket = connect(port, '127.0.0.1').setNoDelay(true);
      let sentUs = 0;
      let at = n;
      const send = (): void => {
        sentUs = nowUs();
        const asked = at++ % Math.min(200, size || 1);
        socket.write(`GET /route?model=model-${asked}&type=type-${asked % 5} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      };
      socket.once('connect', send).on('error', reject);
      socket.on('data', (chunk) => {
        // The head may come by itself.
        if (!chunk.includes('}')) return;
        if (!chunk.includes('"endpoint"')) return reject(new Error(`answered ${chunk}`));
        timesUs.push(nowUs() - sentUs);
        if (nowUs() < endUs) return send();
        socket.destroy();
        if (--open === 0) resolve({ perSecond: (timesUs.length / ROUND_MS) * 1000, timesUs });
      });
    }
  });
}

/** A server in a process of its own, on the first core; resolves to its port. */
async function started(kind: string, size: number): Promise<number> {
  const command: [string, ...string[]] =
    kind === 'FastAPI'
      ? [PYTHON, projectFile('bench/route_fastapi.py'), String(size)]
      : built('route-server', kind, String(size));
  return Number((await start(command, { core: 0 })).line);
}

/** Debian's, whose packages python3-fastapi and python3-uvicorn are the rival that the original is. */
const PYTHON = '/usr/bin/python3';

function hasFastApi(): boolean {
  const has = spawnSync(PYTHON, ['-c', 'import fastapi, uvicorn']).status === 0;
  if (!has) console.log('FastAPI is left out: install python3-fastapi and python3-uvicorn');
  return has;
}

async function measure(): Promise<void> {
  spawnSync('taskset', ['-cp', '1', String(process.pid)]);
  const kinds: [string, number][] = [['bare', 0]];
  for (const size of [1, 10_000, 100_000]) kinds.push(['anyserve', size], ['fastify', size]);
  kinds.push(['ordinary express', 10_000]);
  if (hasFastApi()) kinds.push(['FastAPI', 1], ['FastAPI', 10_000]);
  const servers: { kind: string; size: number; port: number; rounds: Round[] }[] = [];
  for (const [kind, size] of kinds) servers.push({ kind, size, port: await started(kind, size), rounds: [] });
  for (const { port, size } of servers) await load(port, size);
  for (let round = 0; round < ROUNDS; round++)
    for (const server of servers) {
      server.rounds.push(await load(server.port, server.size));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  const bare = servers[0] as (typeof servers)[0];
  const rows = servers.map(({ kind, size, rounds }) => {
    const times = rounds.flatMap(({ timesUs }) => timesUs);
    const perSecond = rounds.map((round) => round.perSecond);
    return {
      what: size > 0 ? `${kind}, ${size} replicas` : kind,
      perSecond: Math.round(median(perSecond)),
      ofBare: rounded(
        medianRatio(
          perSecond,
          bare.rounds.map((round) => round.perSecond),
        ),
      ),
      p50Us: Math.round(median(times)),
      p99Us: Math.round(quantile(times, 0.99)),
      p99OfBare: rounded(medianRatio(rounds.map(p99), bare.rounds.map(p99))),
    };
  });
  report({ name: 'route', rows, compared: { ofBare: 'more', p99OfBare: 'less' } });
}

const p99 = ({ timesUs }: Round): number => quantile(timesUs, 0.99);

await measure();
process.exit();
