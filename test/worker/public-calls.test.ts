import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createEchoBackend } from '../../src/worker/echo-backend.js';
import { getAddressGroup } from '../../src/worker/public-calls.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startWorker(): Promise<number> {
  const worker = await startTestWorker(createEchoBackend());
  cleanups.push(() => worker.stop());
  return Number(worker.replica.endpoint.split(':').at(-1));
}

/** Connects from a loopback address. */
function connectFrom(localAddress: string, port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`, {
    createConnection: () => connect({ port, host: '127.0.0.1', localAddress }),
  });
  session.on('error', () => {});
  cleanups.push(() => session.destroy());
  return session;
}

interface Watch {
  readonly stream: ClientHttp2Stream;
  /** Whether the health has arrived and the watch goes on. */
  isServed(): boolean;
  status(): string | undefined;
}

/** Starts a health watch with a complete request. */
function watch(session: ClientHttp2Session): Watch {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Watch',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let bytes = 0;
  let status: string | undefined;
  const keepStatus = (headers: Readonly<Record<string, unknown>>): void => {
    if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
  };
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  stream
    .on('response', keepStatus)
    .on('trailers', keepStatus)
    .on('error', () => {});
  stream.end(Buffer.alloc(5));
  return { stream, isServed: () => bytes > 0 && status === undefined, status: () => status };
}

const RESOURCE_EXHAUSTED = '8';

describe('watches that need no token', () => {
  it('are shared by addresses: one that holds all gives way to another', async () => {
    const port = await startWorker();
    const greedy = connectFrom('127.0.0.1', port);
    const held = Array.from({ length: 48 }, () => watch(greedy));
    await until('all are served', () => held.every((call) => call.isServed()));
    const another = watch(greedy);
    await until('one more of the same address is refused', () => another.status() === RESOURCE_EXHAUSTED);
    const honest = connectFrom('127.0.0.2', port);
    const watches = Array.from({ length: 24 }, () => watch(honest));
    await until('another address has half of them', () => watches.every((call) => call.isServed()));
    const listEnded = () => held.flatMap((call, index) => (call.status() === RESOURCE_EXHAUSTED ? [index] : []));
    await until('the others have ended', () => listEnded().length === 24);
    expect(listEnded()).toEqual(Array.from({ length: 24 }, (_, index) => index));
    const excess = watch(honest);
    await until('it has no more than half', () => excess.status() === RESOURCE_EXHAUSTED);
    for (let n = 0; n < 60; n++) watch(greedy);
    const third = watch(connectFrom('127.0.0.3', port));
    await until('a third address is served', () => third.isServed());
    expect(watches.filter((call) => call.isServed()).length).toBeGreaterThanOrEqual(23);
  });
});

describe('the group of an address', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::6', '2001:db8:1:2'],
    ['2001:db8::6', '2001:db8:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::1', '0:0:0:0'],
    ['', ''],
  ])('%s is %s', (address, group) => {
    expect(getAddressGroup(address)).toBe(group);
  });
});
