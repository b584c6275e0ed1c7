import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { credentials, Client as GrpcClient, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnaryCall } from '../../src/client/unary-call.js';

type Outcome = { readonly response: string } | { readonly code: number; readonly details: string };

/** A message as gRPC frames it. */
function framed(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

const HEADERS = { ':status': 200, 'content-type': 'application/grpc' };

function answer(stream: ServerHttp2Stream, messages: readonly string[], trailers: Record<string, string>): void {
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end(Buffer.concat(messages.map(framed)));
}

/** How a server may answer, well or badly. */
const ANSWERS: Record<string, (stream: ServerHttp2Stream) => void> = {
  whole: (stream) => answer(stream, ['fine'], { 'grpc-status': '0' }),
  'no message': (stream) => answer(stream, [], { 'grpc-status': '0' }),
  'a message that is none': (stream) => answer(stream, ['bad'], { 'grpc-status': '0' }),
  'a failure': (stream) => answer(stream, [], { 'grpc-status': '9', 'grpc-message': 'not%20now' }),
  'a failure after a message': (stream) => answer(stream, ['fine'], { 'grpc-status': '13', 'grpc-message': 'late' }),
  'a failure at once': (stream) => {
    stream.respond({ ...HEADERS, 'grpc-status': '5', 'grpc-message': 'nobody' }, { endStream: true });
  },
  'no status': (stream) => {
    stream.respond(HEADERS);
    stream.end(framed('fine'));
  },
  'not gRPC': (stream) => {
    stream.respond({ ':status': 404, 'content-type': 'text/plain' });
    stream.end('nothing here');
  },
  'a reset': (stream) => stream.close(7),
  'a break': (stream) => stream.session?.destroy(),
};

describe('a call with one message each way', () => {
  let server: Http2Server;
  let client: GrpcClient;

  beforeAll(async () => {
    server = createServer().on('stream', (stream, headers) => {
      stream.on('error', () => {});
      ANSWERS[decodeURIComponent((headers[':path'] ?? '').slice(1))]?.(stream);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    client = new GrpcClient(`127.0.0.1:${(server.address() as AddressInfo).port}`, credentials.createInsecure(), {
      'grpc.enable_retries': 0,
    });
  });

  afterAll(() => {
    client.close();
    server.close();
  });

  const method = (path: string) => ({ path: `/${encodeURIComponent(path)}`, responseDeserialize: read });
  const connected = () =>
    new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + 5000, (error) => (error ? reject(error) : resolve())),
    );

  function read(bytes: Buffer): string {
    const text = bytes.toString();
    if (text === 'bad') throw new RangeError('a message that is none');
    return text;
  }

  function outcome(error: ServiceError | null | undefined, response: string | undefined): Outcome {
    if (!error) return { response: response as string };
    expect(error).toBeInstanceOf(Error);
    expect(error.metadata).toBeInstanceOf(Metadata);
    return { code: error.code, details: error.details.replace(/ after .*/, '') };
  }

  /** Both ways to make the same call. */
  const WAYS = {
    ours: (path: string, deadline: number, hand: (cancel: () => void) => void = () => {}) =>
      new Promise<Outcome>((resolve) => {
        const call = new UnaryCall(client.getChannel(), method(path), deadline, (error, response) =>
          resolve(outcome(error, response)),
        );
        call.start(new Metadata(), Buffer.from('hello'));
        hand(() => call.cancel());
      }),
    theLibrarys: (path: string, deadline: number, hand: (cancel: () => void) => void = () => {}) =>
      new Promise<Outcome>((resolve) => {
        const call = client.makeUnaryRequest(
          method(path).path,
          Buffer.from,
          read,
          'hello',
          new Metadata(),
          { deadline },
          (error, response) => resolve(outcome(error, response)),
        );
        hand(() => call.cancel());
      }),
  };

  it.each(Object.keys(ANSWERS))('ends as with the library when the answer is: %s', async (path) => {
    await connected();
    const expected = await WAYS.theLibrarys(path, Date.now() + 5000);
    await connected();
    expect(await WAYS.ours(path, Date.now() + 5000)).toEqual(expected);
  });

  it('ends as with the library when nothing comes in time, or it is cancelled', async () => {
    await connected();
    const late = await Promise.all([WAYS.ours, WAYS.theLibrarys].map((call) => call('silence', Date.now() + 100)));
    expect(late[0]).toEqual(late[1]);
    expect(late[0]).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    const cancelled = await Promise.all(
      [WAYS.ours, WAYS.theLibrarys].map((call) =>
        call('silence', Date.now() + 5000, (cancel) => setTimeout(cancel, 50)),
      ),
    );
    expect(cancelled[0]).toEqual(cancelled[1]);
    expect(cancelled[0]).toMatchObject({ code: status.CANCELLED });
  });

  it('says what it got', async () => {
    await connected();
    expect(await WAYS.ours('whole', Date.now() + 5000)).toEqual({ response: 'fine' });
    expect(await WAYS.ours('a failure', Date.now() + 5000)).toEqual({ code: 9, details: 'not now' });
  });
});
