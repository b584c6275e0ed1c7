/**
 * Measures `GET /registry` with many replicas against `JSON.stringify` of the same list: the time to serialize the body when
 * nothing has changed, when 1 in 100 replicas has changed, and when all are new; and how long sending the response blocks
 * the event loop.
 */
import { spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { serializeRegistryResponse } from '../src/api/api-responses.js';
import { parseRegistration, type RegistrationRequest } from '../src/api/registration.js';
import { PageSerializer } from '../src/api/serialized-page.js';
import type { SerializedReplica } from '../src/api/serialized-replica.js';
import type { LeaseId } from '../src/core/ids.js';
import { Registry } from '../src/core/registry.js';
import { ReplicaPages } from '../src/core/replica-pages.js';
import { startHttpApi } from '../src/server/api-server.js';
import { RegistryParts } from '../src/server/registry-parts.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { registration } from '../test/support/replicas.js';
import { answerQuestions, ask, getBuiltCommand, type Started, start } from './child-process.js';
import { computeMedian, computeMedianRatio, readMonotonicUs, roundFigure } from './figures.js';
import { type Row, report } from './report.js';

const ROUNDS = 15;
const SILENT = { emit: () => {}, subscribe: () => () => {} };

/** Creates a replica from a registration request. */
function createReplica(n: number): SerializedReplica {
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

/** Replaces every `every`-th registration with a new one. Default: all. */
function putAll(pages: ReplicaPages<SerializedReplica>, count: number, every = 1): void {
  for (let n = 0; n < count; n += every) pages.put(registration(`lease-${n}`, createReplica(n)));
}

/** Returns the list as plain objects, the input of `JSON.stringify`. */
function toPlainList(pages: ReplicaPages): unknown {
  const replicas = pages.pages().flatMap(({ registrations }) =>
    registrations.map(({ replica: { id, endpoint, capabilities } }) => ({
      replica_id: id,
      endpoint,
      capabilities: capabilities.map(({ source }) => JSON.parse(source)),
    })),
  );
  return { replicas };
}

/** Copies the chunks of a body to one buffer, as sending copies them to the kernel. */
function copyChunks(chunks: Iterable<Buffer>, body: Buffer): void {
  let offset = 0;
  for (const chunk of chunks) offset += chunk.copy(body, offset);
}

/** Returns the duration of a function, in µs. */
function measureUs(work: () => unknown): number {
  const startUs = readMonotonicUs();
  work();
  return readMonotonicUs() - startUs;
}

/** Reads the list over HTTP and resolves to its number of bytes. */
function readList(port: number): Promise<number> {
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

/** Measures the longest stall of the event loop while a list is sent, in ms: median and maximum of all rounds. */
async function measureStalls(
  reader: Started,
  port: number,
  before: () => Promise<void>,
): Promise<{ p50: number; max: number }> {
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
  return { p50: computeMedian(longest), max: Math.max(...longest) };
}

async function measure(): Promise<void> {
  spawnSync('taskset', ['-cp', '0', String(process.pid)]);
  const reader = await start(getBuiltCommand('registry', 'reader'), { core: 1 });
  const rows: Row[] = [];
  for (const size of [10_000, 100_000]) {
    const pages = new ReplicaPages<SerializedReplica>();
    putAll(pages, size);
    const plain = toPlainList(pages);
    const serializer = new PageSerializer();
    const body = Buffer.concat([...serializeRegistryResponse(pages.pages(), serializer)]);
    const createResponseSink = (): void => copyChunks(serializeRegistryResponse(pages.pages(), serializer), body);
    if (body.toString() !== JSON.stringify(plain)) throw new Error('the serialized list differs from JSON.stringify');
    const [stringifyUs, unchangedUs, changedUs, newUs]: number[][] = [[], [], [], []];
    for (let round = 0; round < ROUNDS; round++) {
      stringifyUs?.push(measureUs(() => Buffer.from(JSON.stringify(plain))));
      unchangedUs?.push(measureUs(createResponseSink));
      putAll(pages, size, 100);
      changedUs?.push(measureUs(createResponseSink));
      putAll(pages, size);
      newUs?.push(measureUs(createResponseSink));
    }
    const registry = new Registry({
      store: new MemoryStore<SerializedReplica>(ids.createRegistryId()),
      clock,
      random,
      ids,
      events: SILENT,
    });
    const leases: LeaseId[] = [];
    for (let n = 0; n < size; n++) leases.push(await registry.register(createReplica(n), { host: 'h' }, () => {}));
    const listening = { heartbeatMs: 2000, ackTimeoutMs: 3000, warmingMs: 0, host: '127.0.0.1', port: 0 };
    const server = await startHttpApi({
      parts: new RegistryParts({ registry, events: SILENT, clock, random, ids }),
      clock,
      events: SILENT,
      ...listening,
    });
    const divideByStringify = (times: number[] = []): number =>
      roundFigure(computeMedianRatio(times, stringifyUs ?? []));
    const unchanged = await measureStalls(reader, server.port, async () => {});
    let isReady = true;
    const changed = await measureStalls(reader, server.port, async () => {
      isReady = !isReady;
      for (let n = 0; n < size; n += 100) await registry.renew(leases[n] as LeaseId, isReady ? 'ready' : 'unready');
    });
    rows.push({
      what: `${size} replicas`,
      bytes: body.length,
      stringifyMs: roundFigure(computeMedian(stringifyUs ?? []) / 1000),
      unchanged: divideByStringify(unchangedUs),
      oneInAHundredChanged: divideByStringify(changedUs),
      allNew: divideByStringify(newUs),
      stallP50Ms: roundFigure(unchanged.p50),
      stallMaxMs: roundFigure(unchanged.max),
      stallChangedP50Ms: roundFigure(changed.p50),
      stallChangedMaxMs: roundFigure(changed.max),
    });
    await server.close();
  }
  report({ name: 'registry', rows, compared: { unchanged: 'less', oneInAHundredChanged: 'less', allNew: 'less' } });
}

if (process.argv[2] === 'reader') {
  answerQuestions({ read: readList });
  console.log('ready');
} else {
  await measure();
  process.exit();
}
