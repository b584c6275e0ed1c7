/**
 * `GET /registry` with many replicas, against `JSON.stringify` of the same list: how long the body takes to put together
 * when nothing has changed, when one replica in a hundred has, and when all are new, and how long the event loop stands
 * still while the whole answer is sent.
 */
import { spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { serializeRegistryResponse } from '../src/api/api-responses.js';
import { parseRegistration, type RegistrationRequest } from '../src/api/registration.js';
import type { LeaseId } from '../src/core/ids.js';
import { Registry } from '../src/core/registry.js';
import type { Replica } from '../src/core/replica.js';
import { ReplicaPages } from '../src/core/replica-pages.js';
import { startHttpApi } from '../src/server/api-server.js';
import { createMemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { registration } from '../test/support/replicas.js';
import { answering, ask, built, type Started, start } from './child-process.js';
import { median, medianRatio, nowUs, rounded } from './figures.js';
import { type Row, report } from './report.js';

const ROUNDS = 15;
const SILENT = { emit: () => {} };

/** A replica as it comes in a registration. */
function replica(n: number): Replica {
  const capability = {
    model: `model-${n % 200}`,
    type: `type-${n % 5}`,
    gpu: `gpu-${n % 4}`,
    region: `region-${n % 8}`,
  };
  const body = {
    replica_id: `replica-${n}`,
    endpoint: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}:50051`,
    capabilities: [capability],
  };
  const { replica } = parseRegistration(JSON.stringify(body)) as unknown as RegistrationRequest;
  return replica;
}

/** Puts new registrations in the place of every so manieth, or of all. */
function putAll(pages: ReplicaPages, count: number, every = 1): void {
  for (let n = 0; n < count; n += every) pages.put(registration(`lease-${n}`, replica(n)));
}

/** The list as plain objects, which is what is handed to `JSON.stringify`. */
function plainList(pages: ReplicaPages): unknown {
  const replicas = pages.pages().flatMap(({ registrations }) =>
    registrations.map(({ replica: { id, endpoint, capabilities } }) => ({
      replica_id: id,
      endpoint,
      capabilities: capabilities.map(({ source }) => JSON.parse(source)),
    })),
  );
  return { replicas };
}

/** Copies all parts of a body to where the last one was, as they are copied to the kernel when they are sent. */
function copy(parts: Iterable<Buffer>, body: Buffer): void {
  let at = 0;
  for (const part of parts) at += part.copy(body, at);
}

/** How long something takes, in microseconds. */
function timed(work: () => unknown): number {
  const startUs = nowUs();
  work();
  return nowUs() - startUs;
}

/** Asks for the list over HTTP; resolves to its length once it is read. */
function askFor(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1').once('error', reject);
    let bytes = 0;
    socket.write('GET /registry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    socket.on('data', (chunk) => {
      bytes += chunk.length;
    });
    socket.once('end', () => resolve(bytes));
  });
}

/** The longest time for which a list that is sent keeps everything else waiting, in milliseconds: median and most. */
async function stalls(
  reader: Started,
  port: number,
  before: () => Promise<void>,
): Promise<{ p50: number; most: number }> {
  const longest: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await before();
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await new Promise((resolve) => setTimeout(resolve, 5));
    delay.reset();
    await ask(reader, 'read', port);
    delay.disable();
    longest.push(delay.max / 1e6);
  }
  return { p50: median(longest), most: Math.max(...longest) };
}

async function measure(): Promise<void> {
  spawnSync('taskset', ['-cp', '0', String(process.pid)]);
  const reader = await start(built('registry', 'reader'), { core: 1 });
  const rows: Row[] = [];
  for (const size of [10_000, 100_000]) {
    const pages = new ReplicaPages();
    putAll(pages, size);
    const plain = plainList(pages);
    const body = Buffer.concat([...serializeRegistryResponse(pages.pages())]);
    const writing = (): void => copy(serializeRegistryResponse(pages.pages()), body);
    if (body.toString() !== JSON.stringify(plain)) throw new Error('the list is not what it should be');
    const [stringifyUs, unchangedUs, changedUs, newUs]: number[][] = [[], [], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      stringifyUs?.push(timed(() => Buffer.from(JSON.stringify(plain))));
      unchangedUs?.push(timed(writing));
      putAll(pages, size, 100);
      changedUs?.push(timed(writing));
      putAll(pages, size);
      newUs?.push(timed(writing));
    }
    const registry = new Registry({ store: createMemoryStore(), clock, random, ids, events: SILENT });
    const leases: LeaseId[] = [];
    for (let n = 0; n < size; n++) leases.push(await registry.register(replica(n), { host: 'h' }, () => {}));
    const listening = { heartbeatMs: 2000, ackLimitMs: 3000, warmingMs: 0, host: '127.0.0.1', port: 0 };
    const server = await startHttpApi({ registry, clock, events: SILENT, ...listening });
    const ofStringify = (times: number[] = []): number => rounded(medianRatio(times, stringifyUs ?? []));
    const unchanged = await stalls(reader, server.port, async () => {});
    let isReady = true;
    const changed = await stalls(reader, server.port, async () => {
      isReady = !isReady;
      for (let n = 0; n < size; n += 100) await registry.renew(leases[n] as LeaseId, isReady ? 'ready' : 'unready');
    });
    rows.push({
      what: `${size} replicas`,
      bytes: body.length,
      stringifyMs: rounded(median(stringifyUs ?? []) / 1000),
      unchanged: ofStringify(unchangedUs),
      oneInAHundredChanged: ofStringify(changedUs),
      allNew: ofStringify(newUs),
      stallP50Ms: rounded(unchanged.p50),
      stallMostMs: rounded(unchanged.most),
      stallChangedP50Ms: rounded(changed.p50),
      stallChangedMostMs: rounded(changed.most),
    });
    await server.close();
  }
  report({ name: 'registry', rows, compared: { unchanged: 'less', oneInAHundredChanged: 'less', allNew: 'less' } });
}

if (process.argv[2] === 'reader') {
  answering({ read: askFor });
  console.log('ready');
} else {
  await measure();
  process.exit();
}
