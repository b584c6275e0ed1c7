import fc from 'fast-check';
import type { EngineCall, EngineFailure, EngineHandler } from '../../src/http/engine-client/engine-call.js';
import type { EngineClient } from '../../src/http/engine-client/engine-client.js';
import type { EngineRequest } from '../../src/http/engine-client/engine-request.js';
import type { EngineResponseHead } from '../../src/http/engine-client/response-head.js';

/** A call with everything that its handler has received. */
export interface RecordedCall extends EngineCall {
  readonly heads: readonly EngineResponseHead[];
  readonly pieces: readonly Buffer[];
  /** The body so far, as Latin-1. */
  readonly body: string;
  readonly failure: EngineFailure | undefined;
  /** Number of calls of `onEnd` and `onFailure`. */
  readonly ends: number;
  /** Resolves at the end of the call, successful or not. */
  readonly ended: Promise<void>;
}

/** Sends a request and records its response. `handler` is called too. */
export function recordCall(
  client: EngineClient,
  origin: string,
  request: Partial<EngineRequest> = {},
  handler: Partial<EngineHandler> = {},
): RecordedCall {
  let end: () => void = () => {};
  const record = {
    heads: [] as EngineResponseHead[],
    pieces: [] as Buffer[],
    failure: undefined as EngineFailure | undefined,
    ends: 0,
    ended: new Promise<void>((resolve) => {
      end = resolve;
    }),
    get body() {
      return Buffer.concat(record.pieces).toString('latin1');
    },
  };
  const call = client.send(
    { origin, method: 'GET', path: '/', headers: [], ...request },
    {
      onHead(head) {
        record.heads.push(head);
        handler.onHead?.(head);
      },
      onBody(bytes) {
        record.pieces.push(Buffer.from(bytes));
        handler.onBody?.(bytes);
      },
      onEnd() {
        record.ends++;
        handler.onEnd?.();
        end();
      },
      onFailure(failure) {
        record.ends++;
        record.failure = failure;
        handler.onFailure?.(failure);
        end();
      },
    },
  );
  return Object.assign(record, {
    cancel: () => call.cancel(),
    pause: () => call.pause(),
    resume: () => call.resume(),
  });
}

/** A valid response as its bytes, and how its body is framed. */
export interface GeneratedResponse {
  readonly bytes: Buffer;
  readonly status: number;
  readonly body: Buffer;
  readonly framing: 'length' | 'chunked' | 'until_close' | 'none';
}

const STATUSES = [200, 201, 204, 206, 301, 304, 400, 404, 422, 429, 500, 503, 599];

const headerName = fc
  .stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/)
  .filter((name) => !/^(content-length|transfer-encoding|connection|keep-alive|upgrade|trailer)$/i.test(name));

/** Printable Latin-1 without spaces at the ends. */
const headerValue = fc
  .array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }), fc.constant(0x09)), {
    maxLength: 30,
  })
  .map((codes) => String.fromCharCode(...codes).replace(/^[\t ]+|[\t ]+$/g, ''));

const chunk = fc.record({
  data: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  extension: fc.constantFrom('', ';a', ';a=b', ';a="b;c"', ';x=1'),
  upperCase: fc.boolean(),
  zeros: fc.constantFrom('', '0', '000'),
});

function formatChunk({
  data,
  extension,
  upperCase,
  zeros,
}: typeof chunk extends fc.Arbitrary<infer T> ? T : never): Buffer {
  const size = data.length.toString(16);
  const line = `${zeros}${upperCase ? size.toUpperCase() : size}${extension}\r\n`;
  return Buffer.concat([Buffer.from(line, 'latin1'), data, Buffer.from('\r\n')]);
}

/** Valid responses with every framing, interim responses, repeated headers, chunk extensions and trailers. */
export const generatedResponse: fc.Arbitrary<GeneratedResponse> = fc
  .record({
    interim: fc.constantFrom(
      '',
      'HTTP/1.1 100 Continue\r\n\r\n',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n',
    ),
    status: fc.constantFrom(...STATUSES),
    reason: fc.constantFrom(' OK', ' ', ' Not Found, sorry', ''),
    headers: fc.array(fc.tuple(headerName, fc.constantFrom(':', ': ', ':  \t'), headerValue), { maxLength: 6 }),
    framing: fc.constantFrom('length' as const, 'chunked' as const, 'until_close' as const),
    chunks: fc.array(chunk, { maxLength: 6 }),
    trailers: fc.constantFrom('', 'a: b\r\n', 'x-sum: 1\r\nx-sum: 2\r\n'),
  })
  .map(({ interim, status, reason, headers, framing, chunks, trailers }) => {
    const isEmpty = status === 204 || status === 304;
    const body = isEmpty ? Buffer.alloc(0) : Buffer.concat(chunks.map(({ data }) => data));
    const lines = headers.map(([name, separator, value]) => `${name}${separator}${value}\r\n`);
    // The header about the framing is between the others.
    const framingLine = { length: `Content-Length: ${body.length}\r\n`, chunked: 'Transfer-Encoding: Chunked\r\n' };
    if (!isEmpty && framing !== 'until_close') lines.splice(lines.length >> 1, 0, framingLine[framing]);
    // A 304 can have the length of the body that it doesn't have.
    if (status === 304 && framing === 'length') lines.push('Content-Length: 12\r\n');
    const head = `${interim}HTTP/1.1 ${status}${reason}\r\n${lines.join('')}\r\n`;
    const encoded = framing === 'chunked' ? [...chunks.map(formatChunk), Buffer.from(`0\r\n${trailers}\r\n`)] : [body];
    const bytes = Buffer.concat([Buffer.from(head, 'latin1'), ...(isEmpty ? [] : encoded)]);
    return { bytes, status, body, framing: isEmpty ? 'none' : framing };
  });

/** Positions at which a message is cut into packets. Applies to a message of any length. */
export const generatedCuts = fc.array(fc.nat({ max: 10_000 }), { maxLength: 12 });

/** Cuts bytes into packets. Each is a copy, because the parser changes what it reads. */
export function cutBytes(bytes: Uint8Array, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at]
    .map((start, index) => Buffer.from(bytes.slice(start, at[index] ?? bytes.length)))
    .filter(({ length }) => length > 0);
}
