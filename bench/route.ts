/**
 * `GET /route` of the API server, against a bare server of node:http that answers a constant, and against the same
 * app on an ordinary express: requests a second and times, on one core, in turns. Connections are kept, and each sends
 * its next request when the last is answered.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { availableParallelism, cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createRegistry } from '../src/core/registry.js';
import { listen } from '../src/server/api-server.js';
import { createApp } from '../src/server/app.js';
import { createReadiness } from '../src/server/readiness.js';
import { createMemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { replica } from '../test/support/replicas.js';

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

async function serve(kind: string, size: number): Promise<number> {
  if (kind === 'bare') {
    const headers = { 'content-length': ANSWER.length, 'content-type': 'application/json' };
    const server = createServer((_request, response) => response.writeHead(200, headers).end(ANSWER));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  }
  const registry = createRegistry({ store: createMemoryStore(), clock, random, ids, log: SILENT });
  for (let n = 0; n < size; n++) {
    const pairs = { model: `model-${n % 200}`, type: `type-${n % 5}`, gpu: `gpu-${n % 4}`, region: `region-${n % 8}` };
    await registry.register(replica(`replica-${n}`, pairs), { host: '127.0.0.1' }, () => {});
  }
  const times = { heartbeatMs: 2000, ackLimitMs: 3000, warmingMs: 0 };
  const options = { registry, clock, log: SILENT, ...times, host: '127.0.0.1', port: 0 };
  if (kind === 'anyserve') return (await listen(options)).port;
  const server = createServer(
    createApp({ ...options, readiness: createReadiness(() => undefined), unacknowledged: NO_LEASES }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

interface Round {
  readonly perSecond: number;
  readonly timesUs: readonly number[];
}

const nowUs = (): number => Number(process.hrtime.bigint() / 1000n);

function load(port: number): Promise<Round> {
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
        socket.write(`GET /route?model=model-${at++ % 200}&type=type-${at % 5} HTTP/1.1\r\nHost: x\r\n\r\n`);
      };
      socket.once('connect', send).on('error', reject);
      socket.on('data', (chunk) => {
        // An answer is one small packet; what is cut would show as a stop.
        if (!chunk.includes('}')) return;
        timesUs.push(nowUs() - sentUs);
        if (nowUs() < endUs) return send();
        socket.destroy();
        if (--open === 0) resolve({ perSecond: (timesUs.length / ROUND_MS) * 1000, timesUs });
      });
    }
  });
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
}

const children: ChildProcess[] = [];

/** A server in a process of its own, on the first core. */
function started(kind: string, size: number): Promise<number> {
  const self = fileURLToPath(import.meta.url);
  const child = spawn('taskset', ['-c', '0', process.execPath, '--import', 'tsx', self, kind, String(size)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the ${kind} server ended with ${code}`)));
    createInterface({ input: child.stdout }).once('line', (line) => resolve(Number(line)));
  });
}

async function measure(): Promise<void> {
  const kinds = [
    ['bare', 0],
    ['anyserve', 1],
    ['anyserve', 10_000],
    ['anyserve', 100_000],
    ['ordinary express', 10_000],
  ] as const;
  const servers = await Promise.all(
    kinds.map(async ([kind, size]) => ({ kind, size, port: await started(kind, size), rounds: [] as Round[] })),
  );
  for (const { port } of servers) await load(port);
  for (let round = 0; round < ROUNDS; round++)
    for (const server of servers) server.rounds.push(await load(server.port));
  const [bare] = servers as [(typeof servers)[0]];
  const rows = servers.map(({ kind, size, rounds }) => {
    const ratios = rounds.map(({ perSecond }, at) => perSecond / (bare.rounds[at] as Round).perSecond);
    const times = rounds.flatMap(({ timesUs }) => timesUs);
    return {
      server: kind,
      replicas: size,
      perSecond: Math.round(
        quantile(
          rounds.map(({ perSecond }) => perSecond),
          0.5,
        ),
      ),
      ofBare: Number(quantile(ratios, 0.5).toFixed(2)),
      p50Us: quantile(times, 0.5),
      p99Us: quantile(times, 0.99),
    };
  });
  console.table(rows);
  console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, cores: availableParallelism(), rows }));
}

const [kind, size] = process.argv.slice(2);
if (kind) console.log(await serve(kind, Number(size)));
else {
  try {
    await measure();
  } finally {
    for (const child of children) child.kill();
  }
}
