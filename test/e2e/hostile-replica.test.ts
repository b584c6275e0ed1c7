import { createServer as createHttp2Server, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { stopAll } from '../support/binary.js';
import { runMeasured } from '../support/peak-memory.js';

/** A normal response uses about 110 MB; one with a million elements about 250 MB more. */
const PEAK_MB = 600;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(stopAll);

type Answers = Readonly<Record<string, Uint8Array | readonly Uint8Array[]>>;

/** Starts a replica that responds to each method with these messages. The last message of a stream is repeated without end. */
async function startHostileReplica(responses: Answers): Promise<string> {
  const sessions = new Set<Http2Session>();
  const server = createHttp2Server().on('stream', (stream, headers) => {
    stream.on('error', () => {});
    const method = String(headers[':path']).split('/').at(-1) ?? '';
    const messages = [responses[method] ?? []].flat() as Uint8Array[];
    if (messages.length === 0) {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    if (method === 'ModelStreamInfer') flood(stream, messages.map(frame));
    else stream.end(Buffer.concat(messages.map(frame)));
  });
  server.on('session', (session) => sessions.add(session));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function flood(stream: ServerHttp2Stream, messages: readonly Buffer[]): void {
  let sent = 0;
  const more = (): void => {
    while (!stream.destroyed && sent < 2_000_000) {
      const message = messages[Math.min(sent++, messages.length - 1)] as Buffer;
      if (!stream.write(message)) return void stream.once('drain', more);
    }
    stream.end();
  };
  more();
}

function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Returns a message that contains an empty field `times` times. */
function repeatField(field: number, times: number): Uint8Array {
  return new Uint8Array(2 * times).map((_, at) => (at % 2 === 0 ? (field << 3) | 2 : 0));
}

function nestField(field: number, message: Uint8Array): Uint8Array {
  return new BinaryWriter()
    .uint32((field << 3) | 2)
    .bytes(message)
    .finish();
}

const EMPTY_40_MB = 20_000_000;

describe('a hostile replica cannot exhaust the memory of a caller', () => {
  it.each<[string, readonly string[], Answers]>([
    ['40 MB of empty outputs', [], { ModelInfer: repeatField(5, EMPTY_40_MB) }],
    ['40 MB of empty raw contents', [], { ModelInfer: repeatField(6, EMPTY_40_MB) }],
    ['40 MB of empty parameters', [], { ModelInfer: repeatField(4, EMPTY_40_MB) }],
    ['40 MB of empty elements', [], { ModelInfer: nestField(5, nestField(5, repeatField(8, EMPTY_40_MB))) }],
    ['40 MB of dimensions', [], { ModelInfer: nestField(5, nestField(3, new Uint8Array(2 * EMPTY_40_MB))) }],
    [
      '40 MB of outputs in a stream message',
      ['--stream'],
      { ModelStreamInfer: nestField(2, repeatField(5, EMPTY_40_MB)) },
    ],
    ['40 MB of outputs in a bare stream message', ['--stream'], { ModelStreamInfer: repeatField(5, EMPTY_40_MB) }],
    ['40 MB of metadata', [], { ModelMetadata: repeatField(4, EMPTY_40_MB), ModelInfer: repeatField(5, 2000) }],
    ['an error of 40 MB', ['--stream'], { ModelStreamInfer: nestField(1, Buffer.alloc(40_000_000, 'x')) }],
    ['an endless stream of empty messages, collected for JSON', ['--json'], { ModelStreamInfer: new Uint8Array(0) }],
    [
      'an endless stream of empty responses, collected for JSON',
      ['--json'],
      { ModelStreamInfer: nestField(2, Buffer.from('\x1a\x01x')) },
    ],
  ])('%s', async (_what, options, responses) => {
    const at = ['--endpoint', await startHostileReplica(responses), '--timeout', '20s'];
    const { code, stdout, stderr, peakMb } = await runMeasured(['infer', 'chat', '--prompt', 'x', ...at, ...options]);
    expect({ code, stderr: stderr.slice(0, 3000) }).toMatchObject({
      code: expect.toSatisfy((c) => c === 5 || c === 1),
    });
    expect(stderr.length).toBeLessThan(3000);
    expect(stdout.length).toBeLessThan(1_000_000);
    expect(peakMb).toBeLessThan(PEAK_MB);
  });
});
