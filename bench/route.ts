/**
 * `GET /route` of the API server, against a bare server of node:http that answers a constant, against the same app on
 * an ordinary express, and against fastify and FastAPI doing the same: requests a second and times, on one core, in
 * turns. Connections are kept, and each sends its next request when the last is answered.
 */
import { spawnSync } from 'node:child_process';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { fastify } from 'fastify';
import { createRegistry, type Registry } from '../src/core/registry.js';
import { listen } from '../src/server/api-server.js';
import { createApp } from '../src/server/app.js';
import { createReadiness } from '../src/server/readiness.js';
import { createMemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { replica } from '../test/support/replicas.js';
import { start } from './child-process.js';
import { median, medianRatio, nowUs, quantile, rounded } from './figures.js';
import { report } from './report.js';

const CONNECTIONS = 16;
const ROUND_MS = 1000;
const ROUNDS = 7;
const ANSWER = '{"endpoint":"replica-7.test:50051","replica_id":"replica-7"}';
/** Nobody registers over HTTP here. */
const NO_LEASES = {
  watch: () => {
    throw new Error('no lease is granted here');
  },
};

const SILENT = { info: () => {}, warn: () => {} };

/** A registry of so many replicas, of which each query asks for those of a model and a type. */
async function registryOf(size: number): Promise<Registry> {
  const registry = createRegistry({ store: createMemoryStore(), clock, random, ids, log: SILENT });
  for (let n = 0; n < size; n++) {
    const pairs = { model: `model-${n % 200}`, type: `type-${n % 5}`, gpu: `gpu-${n % 4}`, region: `region-${n % 8}` };
    await registry.register(replica(`replica-${n}`, pairs), { host: '127.0.0.1' }, () => {});
  }
  return registry;
}

const appOptions = (registry: Registry) => ({
  registry,
  clock,
  log: SILENT,
  heartbeatMs: 2000,
  ackLimitMs: 3000,
  warmingMs: 0,
});

function listenOn(handler: RequestListener): Promise<number> {
  const server = createServer(handler);
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

/** The servers that are compared: each is started with so many replicas, and resolves to its port. */
const SERVERS: Readonly<Record<string, (size: number) => Promise<number>>> = {
  async bare() {
    const headers = { 'content-length': ANSWER.length, 'content-type': 'application/json' };
    return await listenOn((_request, response) => response.writeHead(200, headers).end(ANSWER));
  },
  async anyserve(size) {
    return (await listen({ ...appOptions(await registryOf(size)), host: '127.0.0.1', port: 0 })).port;
  },
  async 'ordinary express'(size) {
    const readiness = createReadiness(() => undefined);
    return await listenOn(
      createApp({ ...appOptions(await registryOf(size)), readiness, unacknowledged: NO_LEASES }) as RequestListener,
    );
  },
  async fastify(size) {
    const registry = await registryOf(size);
    const app = fastify();
    app.get('/route', (request, reply) => {
      const asked = new Map(Object.entries(request.query as Record<string, string>));
      const found = registry.route(asked, new Set());
      if (!found) return reply.code(404).send({ detail: 'no matching replica' });
      return reply.send({ endpoint: found.endpoint, replica_id: found.id });
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return (app.server.address() as AddressInfo).port;
  },
};

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
        socket.write(`GET /route?model=model-${asked}&type=type-${asked % 5} HTTP/1.1\r\nHost: x\r\n\r\n`);
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

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A server in a process of its own, on the first core; resolves to its port. */
async function started(kind: string, size: number): Promise<number> {
  const command: [string, ...string[]] =
    kind === 'FastAPI'
      ? [PYTHON, here('route_fastapi.py'), String(size)]
      : [process.execPath, '--import', 'tsx', here('route.ts'), kind, String(size)];
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
  const kinds: [string, number][] = [['bare', 0]];
  for (const size of [1, 10_000, 100_000]) kinds.push(['anyserve', size], ['fastify', size]);
  kinds.push(['ordinary express', 10_000]);
  if (hasFastApi()) kinds.push(['FastAPI', 1], ['FastAPI', 10_000]);
  const servers: { kind: string; size: number; port: number; rounds: Round[] }[] = [];
  for (const [kind, size] of kinds) servers.push({ kind, size, port: await started(kind, size), rounds: [] });
  for (const { port, size } of servers) await load(port, size);
  for (let round = 0; round < ROUNDS; round++)
    for (const server of servers) server.rounds.push(await load(server.port, server.size));
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

const [kind, size] = process.argv.slice(2);
if (kind) console.log(await SERVERS[kind]?.(Number(size)));
else await measure().finally(() => process.exit());
