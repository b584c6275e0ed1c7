import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions } from '../../src/client/client-options.js';
import type { TensorMessage } from '../../src/inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { clock, random } from '../../src/system.js';
import { startBareServer } from '../support/bare-server.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function createClient(options: ClientOptions): InferenceClient {
  const client = new InferenceClient(options, { clock, random });
  cleanups.push(() => client.close());
  return client;
}

async function startMethods(methods: object): Promise<string> {
  const { endpoint, server } = await startBareServer(methods);
  cleanups.push(() => server.forceShutdown());
  return endpoint;
}

async function listen(server: Pick<Server, 'listen' | 'address' | 'close'>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Starts an HTTP/2 server that handles each call with `take`. */
function startHttp2Server(take: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void): Promise<string> {
  const server = createHttp2Server().on('stream', (stream, headers) => {
    stream.on('error', () => {});
    take(stream, headers);
  });
  return listen(server as never);
}

function createResponse(outputs: TensorMessage[], raw: Uint8Array[] = []) {
  return { modelName: 'x', modelVersion: '', id: '', parameters: new Map(), outputs, rawOutputContents: raw };
}

function createTextTensor(name: string, ...texts: string[]): TensorMessage {
  const contents = { bytesContents: texts.map((one) => Buffer.from(one)) };
  return { name, datatype: 'BYTES', shape: [BigInt(texts.length)], parameters: new Map(), contents };
}

const GRPC = { ':status': 200, 'content-type': 'application/grpc' };

describe('a replica that fails without a message', () => {
  const sendMetadata = (_call: unknown, done: (error: null, message: object) => void): void =>
    done(null, {
      name: 'x',
      versions: [],
      platform: '',
      inputs: [
        { name: 'INPUT0', datatype: 'FP32', shape: [-1n, 3n] },
        { name: 'TEXT', datatype: 'BYTES', shape: [1n] },
      ],
      outputs: [],
      properties: new Map(),
    });
  const sent = { INPUT0: Int32Array.of(1, 2), other: Float32Array.of(1) };

  it('is reported as such, together with the declared and the sent inputs', async () => {
    const endpoint = await startMethods({
      modelInfer: (_call: unknown, done: (error: object) => void) =>
        done({ code: status.INVALID_ARGUMENT, details: '' }),
      modelMetadata: sendMetadata,
    });
    await expect(createClient({ endpoint }).infer('x', sent)).rejects.toMatchObject({
      code: 'invalid_argument',
      message:
        `${endpoint}: INVALID_ARGUMENT without a reason: the status text is empty, or was not valid HTTP/2; ` +
        'model "x" declares INPUT0 FP32[-1,3], TEXT BYTES[1]; sent: INPUT0 INT32[2], other FP32[1]',
    });
  });

  it('is detected when the message is only a space, which HTTP/2 does not allow', async () => {
    // Node.js refuses to send such a value, so the test builds the HEADERS frame, with literal fields that are not indexed.
    const encodeField = (name: string, value: string): Buffer =>
      Buffer.concat([Buffer.of(0, name.length), Buffer.from(name), Buffer.of(value.length), Buffer.from(value)]);
    const fields = Buffer.concat([
      Buffer.of(0x88),
      encodeField('content-type', 'application/grpc'),
      encodeField('grpc-status', '3'),
      encodeField('grpc-message', 'unexpected shape '),
    ]);
    const encodeFrame = (type: number, flags: number, stream: number, payload: Buffer): Buffer =>
      Buffer.concat([Buffer.of(0, 0, payload.length, type, flags, 0, 0, 0, stream), payload]);
    const server = createServer((socket: Socket) => {
      let received = Buffer.alloc(0);
      let handledTo = 24;
      socket.on('error', () => {});
      socket.write(Buffer.concat([encodeFrame(4, 0, 0, Buffer.alloc(0)), encodeFrame(4, 1, 0, Buffer.alloc(0))]));
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        while (received.length >= handledTo + 9) {
          const length = received.readUIntBE(handledTo, 3);
          if (received.length < handledTo + 9 + length) return;
          const [type, stream] = [received[handledTo + 3], received.readUInt32BE(handledTo + 5)];
          if (type === 1) socket.write(encodeFrame(1, 5, stream, fields));
          handledTo += 9 + length;
        }
      });
    });
    const endpoint = await listen(server);
    await expect(createClient({ endpoint }).infer('x', { a: Float32Array.of(1) })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(/INVALID_ARGUMENT without a reason: .*; sent: a FP32\[1\]$/),
    });
  });

  it('does not cause a metadata request when the failure is unrelated to the inputs', async () => {
    const endpoint = await startMethods({
      modelInfer: (_call: unknown, done: (error: object) => void) =>
        done({ code: status.PERMISSION_DENIED, details: '' }),
    });
    await expect(createClient({ endpoint }).infer('x', sent)).rejects.toThrow(/HTTP\/2$/);
  });
});

describe('a port that speaks HTTP/1.1', () => {
  it.each([
    ['responds with 400 to unknown requests', () => createHttpServer((_request, response) => response.end('{}'))],
    [
      'responds with a page to any request',
      () =>
        createServer((socket) => {
          socket.on('error', () => {});
          socket.once('data', () => socket.end('HTTP/1.0 404 Not Found\r\n\r\n'));
        }),
    ],
  ])('is reported as such, unlike a port that speaks gRPC: %s', async (_what, make) => {
    const endpoint = await listen(make() as never);
    const failure = {
      code: 'unavailable',
      message: expect.stringContaining(
        `${endpoint}: speaks HTTP/1.1, not gRPC: is this its HTTP port? Triton's gRPC port is 8001 by default`,
      ),
    };
    await expect(createClient({ endpoint }).infer('x', { a: [1] })).rejects.toMatchObject(failure);
    await expect(
      createClient({ endpoint })
        .inferStream('x', { a: [1] })
        .next(),
    ).rejects.toMatchObject(failure);
  });
});

it('a port with another protocol is reported without the texts of the gRPC library', async () => {
  const endpoint = await listen(
    createServer((socket) => {
      socket.on('error', () => {});
      socket.write('220 mail.example ready\r\n');
    }) as never,
  );
  await expect(createClient({ endpoint }).infer('x', { a: [1] })).rejects.toMatchObject({
    code: 'unavailable',
    message: `${endpoint}: does not speak HTTP/2: is this the port of a gRPC server?`,
  });
});

describe('a decoupled model', () => {
  const refusal = {
    code: status.UNIMPLEMENTED,
    details: "ModelInfer RPC doesn't support models with decoupled transaction policy",
  };
  const modelInfer = (_call: unknown, done: (error: object) => void): void => done(refusal);
  type Stream = { write(message: object): void; end(): void };

  it('responds to a unary call with all its stream messages combined', async () => {
    const endpoint = await startMethods({
      modelInfer,
      modelStreamInfer(call: Stream) {
        const numbers = { name: 'n', datatype: 'INT32', shape: [1n], parameters: new Map() };
        for (const [at, piece] of ['Hello', ', ', 'you'].entries()) {
          const outputs = [
            createTextTensor('text_output', piece),
            { ...numbers, contents: { intContents: Int32Array.of(at) } },
          ];
          call.write({ errorMessage: '', inferResponse: createResponse(outputs) });
        }
        call.write({ errorMessage: '', inferResponse: createResponse([]) });
        call.end();
      },
    });
    const { outputs } = await createClient({ endpoint }).infer('x', {});
    expect(outputs['text_output'] && tensorToTexts(outputs['text_output'])).toEqual(['Hello, you']);
    expect(outputs['n']).toEqual({ datatype: 'INT32', shape: [3], data: Int32Array.of(0, 1, 2) });
  });

  it('is limited to the maximum size of one response', async () => {
    const endpoint = await startMethods({
      modelInfer,
      modelStreamInfer(call: Stream) {
        for (let n = 0; n < 100; n++)
          call.write({ errorMessage: '', inferResponse: createResponse([createTextTensor('t', 'x'.repeat(100))]) });
        call.end();
      },
    });
    await expect(createClient({ endpoint, maxMessageBytes: 5000 }).infer('x', {})).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringContaining('the response has more than 5000 bytes'),
    });
  });
});

describe('the timeout of a call', () => {
  it.each<[string, string, (client: InferenceClient) => Promise<unknown>]>([
    ['60 s', 'an inference', (client) => client.infer('x', { a: Float32Array.of(1) })],
    [
      '600 s',
      'a text',
      (client) => client.infer('x', { prompt: { datatype: 'BYTES', shape: [1], data: ['a'] } as never }),
    ],
    ['3600 s', 'a stream', (client) => client.inferStream('x', {}).next()],
    ['5 s', 'a call with an explicit timeout', (client) => client.infer('x', {}, { timeoutMs: 5000 })],
  ])('is %s for %s, and is sent to the replica', async (within, _what, call) => {
    let sentTimeout = '';
    const endpoint = await startHttp2Server((stream, headers) => {
      sentTimeout = String(headers['grpc-timeout']);
      stream.respond({ ...GRPC, 'grpc-status': '9', 'grpc-message': 'seen' }, { endStream: true });
    });
    await expect(call(createClient({ endpoint }))).rejects.toThrow('seen');
    const [, amount, unit = ''] = /^(\d+)([mSMH])$/.exec(sentTimeout) ?? [];
    const seconds = Number(amount) * ({ m: 0.001, S: 1, M: 60, H: 3600 }[unit] ?? Number.NaN);
    expect(Math.abs(seconds - Number.parseInt(within, 10))).toBeLessThanOrEqual(2);
  });

  it('fails the call at once when it is not positive, and must not be negative', async () => {
    const endpoint = await startMethods({ modelInfer: () => {} });
    const startedAtMs = clock.nowMs();
    await expect(createClient({ endpoint }).infer('x', {}, { timeoutMs: 0 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(1000);
    for (const timeoutMs of [-1, Number.NaN]) {
      await expect(createClient({ endpoint }).infer('x', {}, { timeoutMs })).rejects.toMatchObject({ code: 'usage' });
    }
    await expect(createClient({ endpoint, timeoutMs: 200 }).infer('x', {})).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: `${endpoint}: no response within 200ms; raise the limit with --timeout (timeoutMs)`,
    });
  });

  it('can be infinite', async () => {
    const endpoint = await startMethods({
      modelInfer: (_call: unknown, done: (error: object) => void) => done({ code: 9, details: 'seen' }),
    });
    await expect(
      createClient({ endpoint, timeoutMs: Number.POSITIVE_INFINITY }).infer('x', { a: [1] }),
    ).rejects.toThrow('seen');
  });
});

describe('a silent stream', () => {
  type Stream = { write(message: object): void; end(): void };
  const message = { errorMessage: '', inferResponse: createResponse([]) };

  it('is ended before its first message', async () => {
    const endpoint = await startMethods({ modelStreamInfer: () => {} });
    await expect(
      createClient({ endpoint, firstMessageTimeoutMs: 200 }).inferStream('x', {}).next(),
    ).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: `${endpoint}: no message of the stream arrived for 200ms; --first-message-timeout (firstMessageTimeoutMs) sets the limit`,
    });
  });

  it('is ended between two messages, and the error has the number of messages received', async () => {
    const endpoint = await startMethods({
      modelStreamInfer(call: Stream) {
        call.write(message);
        call.write(message);
      },
    });
    const messages = createClient({ endpoint, streamIdleTimeoutMs: 200 }).inferStream('x', {});
    await messages.next();
    await messages.next();
    await expect(messages.next()).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: `${endpoint}: the stream was silent for 200ms; --stream-idle-timeout (streamIdleTimeoutMs) sets the limit (after 2 messages of the stream)`,
    });
  });

  it('continues while messages arrive, even empty ones, and while its reader is slow', async () => {
    const endpoint = await startMethods({
      async modelStreamInfer(call: Stream) {
        for (let n = 0; n < 5; n++) {
          await new Promise((resolve) => setTimeout(resolve, 400));
          call.write(message);
        }
        call.end();
      },
    });
    let count = 0;
    for await (const _part of createClient({ endpoint, streamIdleTimeoutMs: 1500 }).inferStream('x', {})) {
      if (++count === 2) await new Promise((resolve) => setTimeout(resolve, 2000));
    }
    expect(count).toBe(5);
  });

  it('is not limited when the option disables the limit', async () => {
    const endpoint = await startMethods({ modelStreamInfer: (call: Stream) => setTimeout(() => call.end(), 300) });
    const messages = createClient({ endpoint, firstMessageTimeoutMs: 0, streamIdleTimeoutMs: 0 }).inferStream('x', {});
    expect((await messages.next()).done).toBe(true);
  });
});

it('a stream is not read faster than it is consumed', async () => {
  let written = 0;
  const big = INFERENCE_SERVICE.modelStreamInfer.responseSerialize({
    errorMessage: '',
    inferResponse: createResponse(
      [{ name: 'a', datatype: 'UINT8', shape: [1_000_000n], parameters: new Map(), contents: undefined }],
      [new Uint8Array(1_000_000)],
    ),
  });
  const framed = Buffer.concat([Buffer.of(0), Buffer.alloc(4), big]);
  framed.writeUInt32BE(big.length, 1);
  const endpoint = await startHttp2Server((stream) => {
    stream.respond(GRPC);
    const more = (): void => {
      while (written < 100) {
        written++;
        if (!stream.write(framed)) return void stream.once('drain', more);
      }
    };
    more();
  });
  const messages = createClient({ endpoint }).inferStream('x', {});
  for (let n = 0; n < 3; n++) await messages.next();
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(written).toBeLessThan(25);
  await messages.return(undefined);
});
