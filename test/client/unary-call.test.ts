import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { credentials, Client as GrpcClient, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnaryCall } from '../../src/client/unary-call.js';

type Outcome = { readonly response: string } | { readonly code: number; readonly details: string };

/** Frames a message as gRPC does. */
function frameMessage(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

const HEADERS = { ':status': 200, 'content-type': 'application/grpc' };

function respond(stream: ServerHttp2Stream, messages: readonly string[], trailers: Record<string, string>): void {
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end(Buffer.concat(messages.map(frameMessage)));
}

/** Valid and invalid responses of a server. */
const RESPONSES: Record<string, (stream: ServerHttp2Stream) => void> = {
  whole: (stream) => respond(stream, ['fine'], { 'grpc-status': '0' }),
  'no message': (stream) => respond(stream, [], { 'grpc-status': '0' }),
  'a message that is none': (stream) => respond(stream, ['bad'], { 'grpc-status': '0' }),
  'a failure': (stream) => respond(stream, [], { 'grpc-status': '9', 'grpc-message': 'not%20now' }),
  'a failure after a message': (stream) => respond(stream, ['fine'], { 'grpc-status': '13', 'grpc-message': 'late' }),
  'a failure at once': (stream) => {
    stream.respond({ ...HEADERS, 'grpc-status': '5', 'grpc-message': 'nobody' }, { endStream: true });
  },
  'no status': (stream) => {
    stream.respond(HEADERS);
    stream.end(frameMessage('fine'));
  },
  'not gRPC': (stream) => {
    stream.respond({ ':status': 404, 'content-type': 'text/plain' });
    stream.end('nothing here');
  },
  'a reset': (stream) => stream.close(7),
  'a break': (stream) => stream.session?.destroy(),
};

describe('a unary call', () => {
  let server: Http2Server;
  let client: GrpcClient;

  beforeAll(async () => {
    server = createServer().on('stream', (stream, headers) => {
      stream.on('error', () => {});
      RESPONSES[decodeURIComponent((headers[':path'] ?? '').slice(1))]?.(stream);
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

  const createMethod = (path: string) => ({ path: `/${encodeURIComponent(path)}`, responseDeserialize: deserialize });
  const waitUntilConnected = () =>
    new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + 5000, (error) => (error ? reject(error) : resolve())),
    );

  function deserialize(bytes: Buffer): string {
    const text = bytes.toString();
    if (text === 'bad') throw new RangeError('a message that is none');
    return text;
  }

  function toOutcome(error: ServiceError | null | undefined, response: string | undefined): Outcome {
    if (!error) return { response: response as string };
    expect(error).toBeInstanceOf(Error);
    expect(error.metadata).toBeInstanceOf(Metadata);
    return { code: error.code, details: error.details.replace(/ after .*/, '') };
  }

  /** The two implementations of the same call. */
  const IMPLEMENTATIONS = {
    ours: (path: string, deadline: number, hand: (cancel: () => void) => void = () => {}) =>
      new Promise<Outcome>((resolve) => {
        const call = new UnaryCall(client.getChannel(), createMethod(path), deadline, (error, response) =>
          resolve(toOutcome(error, response)),
        );
        call.start(new Metadata(), Buffer.from('hello'));
        hand(() => call.cancel());
      }),
    theLibrarys: (path: string, deadline: number, hand: (cancel: () => void) => void = () => {}) =>
      new Promise<Outcome>((resolve) => {
        const call = client.makeUnaryRequest(
          createMethod(path).path,
          Buffer.from,
          deserialize,
          'hello',
          new Metadata(),
          { deadline },
          (error, response) => resolve(toOutcome(error, response)),
        );
        hand(() => call.cancel());
      }),
  };

  it.each(Object.keys(RESPONSES))('ends as with the gRPC library when the response is: %s', async (path) => {
    await waitUntilConnected();
    const expected = await IMPLEMENTATIONS.theLibrarys(path, Date.now() + 5000);
    await waitUntilConnected();
    expect(await IMPLEMENTATIONS.ours(path, Date.now() + 5000)).toEqual(expected);
  });

  it('ends as with the gRPC library at the deadline and on cancellation', async () => {
    await waitUntilConnected();
    const late = await Promise.all(
      [IMPLEMENTATIONS.ours, IMPLEMENTATIONS.theLibrarys].map((call) => call('silence', Date.now() + 100)),
    );
    expect(late[0]).toEqual(late[1]);
    expect(late[0]).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    const cancelled = await Promise.all(
      [IMPLEMENTATIONS.ours, IMPLEMENTATIONS.theLibrarys].map((call) =>
        call('silence', Date.now() + 5000, (cancel) => setTimeout(cancel, 50)),
      ),
    );
    expect(cancelled[0]).toEqual(cancelled[1]);
    expect(cancelled[0]).toMatchObject({ code: status.CANCELLED });
  });

  it('returns the response message', async () => {
    await waitUntilConnected();
    expect(await IMPLEMENTATIONS.ours('whole', Date.now() + 5000)).toEqual({ response: 'fine' });
    expect(await IMPLEMENTATIONS.ours('a failure', Date.now() + 5000)).toEqual({ code: 9, details: 'not now' });
  });
});
