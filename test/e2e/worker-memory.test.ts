import { mkdtempSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { start, stopAll } from '../support/binary.js';
import { readPeakRssBytes } from '../support/peak-memory.js';
import { until } from '../support/until.js';

const MIB = 1024 * 1024;

/** Messages of 64 KB that inflate to 64 MiB, the default maximum. */
const BOMBS = {
  gzip: gzipSync(Buffer.alloc(64 * MIB)),
  deflate: deflateSync(Buffer.alloc(64 * MIB)),
  // Its trailer claims that it holds 10 bytes.
  'gzip with a wrong length': forgeLength(gzipSync(Buffer.alloc(64 * MIB))),
};

const CHECK = '/grpc.health.v1.Health/Check';
const INFER = '/inference.GRPCInferenceService/ModelInfer';
const STREAM = '/inference.GRPCInferenceService/ModelStreamInfer';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

describe('a worker under attack', () => {
  it.each(Object.entries(BOMBS))(
    'refuses compression bombs (%s) to methods without authentication before it inflates them',
    async (kind, bomb) => {
      const worker = await startWorker(['--call-token-file', writeTokenFile()]);
      const calls = onSessions(worker, 5, 100, (session) =>
        call(session, CHECK, { body: frame(bomb, true), encoding: getEncoding(kind) }),
      );
      expect(await getStatuses(calls)).toEqual(['8']);
      await expectHealthy(worker);
      expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(100 * MIB);
    },
  );

  it.each(Object.entries(BOMBS))(
    'refuses compression bombs (%s) from callers without a token before it reads them',
    async (kind, bomb) => {
      const worker = await startWorker(['--call-token-file', writeTokenFile()]);
      const calls = onSessions(worker, 5, 100, (session) =>
        call(session, INFER, { body: frame(bomb, true), encoding: getEncoding(kind) }),
      );
      expect(await getStatuses(calls)).toEqual(['16']);
      await expectHealthy(worker);
      expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(100 * MIB);
    },
  );

  it.each(Object.entries(BOMBS))(
    'inflates compression bombs (%s) from authenticated callers within its memory budget',
    async (kind, bomb) => {
      const worker = await startWorker(['--max-decoding-bytes', String(256 * MIB)]);
      const calls = onSessions(worker, 5, 100, (session) =>
        call(session, INFER, { body: frame(bomb, true), encoding: getEncoding(kind) }),
      );
      // Some are inflated and turn out to be invalid; the others exceed the memory budget.
      for (const status of await getStatuses(calls)) expect(['3', '8', '13']).toContain(status);
      expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(400 * MIB);
      await expectHealthy(worker);
      await expectResponses(worker);
    },
  );

  it('buffers incomplete messages within its memory budget', async () => {
    const worker = await startWorker(['--max-decoding-bytes', String(128 * MIB)]);
    const large = frame(Buffer.alloc(8 * MIB), false);
    const calls = onSessions(worker, 8, 20, (session) =>
      call(session, INFER, { body: large.subarray(0, 4 * MIB), isLeftOpen: true }),
    );
    await Promise.all(calls.map(({ sent }) => sent));
    expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(300 * MIB);
    await expectHealthy(worker);
    for (const { stream } of calls) stream.close(constants.NGHTTP2_CANCEL);
    await expectResponses(worker);
  });

  it('reserves no memory for message lengths that are only announced', async () => {
    const worker = await startWorker(['--max-decoding-bytes', String(128 * MIB)]);
    const head = frame(Buffer.alloc(64 * MIB), false).subarray(0, 5);
    const calls = onSessions(worker, 4, 250, (session) => call(session, INFER, { body: head, isLeftOpen: true }));
    await Promise.all(calls.map(({ sent }) => sent));
    await expectResponses(worker);
    expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(150 * MIB);
  });

  it('buffers pending requests of streams within its memory budget', async () => {
    const worker = await startWorker(['--max-decoding-bytes', String(64 * MIB), '--max-concurrency', '1']);
    // Each request gets an error. Nobody reads the responses, so the remaining requests wait.
    const many = Buffer.alloc(5 * 400_000);
    const calls = onSessions(worker, 4, 100, (session) =>
      call(session, STREAM, { body: many, isLeftOpen: true, isUnread: true }),
    );
    for (const { stream } of calls) for (let n = 0; n < 3; n++) await ping(stream.session as ClientHttp2Session);
    expect(readPeakRssBytes(worker.pid) - worker.beforeBytes).toBeLessThan(300 * MIB);
    await expectHealthy(worker);
  });

  it('responds to health checks while other callers watch', async () => {
    const worker = await startWorker();
    const body = frame(Buffer.alloc(0), false);
    const calls = onSessions(worker, 2, 100, (session) => call(session, '/grpc.health.v1.Health/Watch', { body }));
    await Promise.all(calls.map(({ sent }) => sent));
    await expectHealthy(worker);
  });

  it('responds to health checks while requests that never end use up their limit', async () => {
    const worker = await startWorker();
    const calls = onSessions(worker, 2, 100, (session) =>
      call(session, CHECK, { body: Buffer.alloc(1), isLeftOpen: true }),
    );
    await Promise.all(calls.map(({ sent }) => sent));
    const session = connect(`http://${worker.endpoint}`);
    cleanups.push(() => session.destroy());
    for (let n = 0; n < 20; n++) {
      expect(await call(session, CHECK, { body: frame(Buffer.alloc(0), false) }).status).toBe('0');
    }
  });

  it('gives a request without authentication 10 s in total, even if a byte arrives now and then', async () => {
    const worker = await startWorker();
    const [slow] = onSessions(worker, 1, 1, (session) =>
      call(session, CHECK, { body: frame(Buffer.alloc(1000), false).subarray(0, 5), isLeftOpen: true }),
    );
    const timer = setInterval(() => slow?.stream.writable && slow.stream.write(Buffer.alloc(1)), 500);
    cleanups.push(() => clearInterval(timer));
    const startedAtMs = Date.now();
    expect(await slow?.status).toBe('4');
    expect(Date.now() - startedAtMs).toBeLessThan(15_000);
  });
});

interface TestWorker {
  readonly endpoint: string;
  readonly pid: number;
  readonly beforeBytes: number;
}

async function startWorker(args: readonly string[] = []): Promise<TestWorker> {
  const running = start(['worker', '--backend', 'echo', '--cap', 'type=echo', '--no-register', '--port', '0', ...args]);
  const endpoint = await running.waitForOutput(/^serving on (\S+)/m);
  const pid = running.child.pid as number;
  await expectHealthy({ endpoint });
  return { endpoint, pid, beforeBytes: readPeakRssBytes(pid) };
}

interface Attack {
  readonly stream: ClientHttp2Stream;
  /** gRPC status that ends the call; undefined when it ends without one. */
  readonly status: Promise<string | undefined>;
  /** Settles when the server has received everything, or has ended the call. */
  readonly sent: Promise<unknown>;
}

function onSessions(
  { endpoint }: TestWorker,
  sessions: number,
  calls: number,
  make: (session: ClientHttp2Session) => Attack,
): Attack[] {
  return Array.from({ length: sessions }, () => {
    const session = connect(`http://${endpoint}`);
    session.on('error', () => {});
    cleanups.push(() => session.destroy());
    return Array.from({ length: calls }, () => make(session));
  }).flat();
}

function call(
  session: ClientHttp2Session,
  path: string,
  options: {
    readonly body: Buffer;
    readonly encoding?: string;
    readonly isLeftOpen?: boolean;
    readonly isUnread?: boolean;
  },
): Attack {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(options.encoding && { 'grpc-encoding': options.encoding }),
  });
  const status = new Promise<string | undefined>((resolve) => {
    const resolveStatus = (headers: { readonly 'grpc-status'?: unknown }): void => {
      if (headers['grpc-status'] !== undefined) resolve(String(headers['grpc-status']));
    };
    stream
      .on('response', resolveStatus)
      .on('trailers', resolveStatus)
      .on('error', () => resolve(undefined));
    stream.on('close', () => resolve(undefined));
    if (!options.isUnread) stream.resume();
  });
  const written = new Promise<void>((resolve) => {
    if (options.isLeftOpen) stream.write(options.body, () => resolve());
    else stream.end(options.body, () => resolve());
  });
  const received = written.then(() => ping(session));
  return { stream, status, sent: Promise.race([status, received]) };
}

/** Resolves when the server has read everything that was sent before. */
function ping(session: ClientHttp2Session): Promise<unknown> {
  return new Promise((resolve) => (session.destroyed ? resolve(undefined) : session.ping(resolve)));
}

async function getStatuses(calls: readonly Attack[]): Promise<(string | undefined)[]> {
  return [...new Set(await Promise.all(calls.map(({ status }) => status)))];
}

/** Expects responses to small and to compressed health checks. A refused call counts towards the limit until its stream is closed. */
async function expectHealthy({ endpoint }: Pick<TestWorker, 'endpoint'>): Promise<void> {
  for (const [encoding, body] of [
    ['gzip', gzipSync(Buffer.alloc(0))],
    ['deflate', deflateSync(Buffer.alloc(0))],
  ] as const) {
    const session = connect(`http://${endpoint}`);
    const check = () => call(session, CHECK, { body: frame(body, true), encoding }).status;
    await until(`a check in ${encoding} has a response`, async () => (await check()) === '0', 10_000);
    session.destroy();
  }
}

async function expectResponses({ endpoint }: TestWorker): Promise<void> {
  const client = new InferenceClient({ endpoint }, { clock, random });
  const { outputs } = await client.infer('echo', { x: Float32Array.of(1, 2) });
  await client.close();
  expect(outputs['x']?.data).toEqual(Float32Array.of(1, 2));
}

function frame(contents: Buffer, isCompressed: boolean): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(isCompressed ? 1 : 0, 0);
  head.writeUInt32BE(contents.length, 1);
  return Buffer.concat([head, contents]);
}

function getEncoding(kind: string): string {
  return kind === 'deflate' ? 'deflate' : 'gzip';
}

function forgeLength(gzipped: Buffer): Buffer {
  gzipped.writeUInt32LE(10, gzipped.length - 4);
  return gzipped;
}

function writeTokenFile(): string {
  const path = join(mkdtempSync(join(tmpdir(), 'tokens-')), 'call-token');
  writeFileSync(path, 'a-token-of-a-caller\n');
  return path;
}
