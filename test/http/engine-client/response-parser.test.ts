import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineResponseHead } from '../../../src/http/engine-client/response-head.js';
import { ResponseParser } from '../../../src/http/engine-client/response-parser.js';
import { expectLinearTime } from '../../support/cpu-cost.js';
import { cutBytes, generatedCuts, generatedResponse } from '../../support/engine-responses.js';

interface Parsed {
  readonly heads: readonly EngineResponseHead[];
  readonly body: Buffer;
  readonly pieces: number;
  readonly end: string;
  readonly keepsAlive: boolean;
}

/** Parses packets like a connection does. Stops at a problem or at the end. */
function parse(packets: readonly Buffer[], { method = 'POST', isClosed = true } = {}): Parsed {
  const parser = new ResponseParser(method);
  const heads: EngineResponseHead[] = [];
  const pieces: Buffer[] = [];
  let end = '';
  for (const packet of packets) {
    if (parser.isComplete) end = 'bytes after the end';
    if (end !== '') break;
    parser.push(packet);
    if (parser.problem !== undefined) end = parser.problem;
    else if (parser.head) heads.push(parser.head);
    if (parser.body) pieces.push(parser.body);
  }
  if (end === '' && isClosed) parser.end();
  if (end === '') end = parser.isComplete ? 'complete' : 'incomplete';
  return { heads, body: Buffer.concat(pieces), pieces: pieces.length, end, keepsAlive: parser.keepsAlive };
}

const parseText = (text: string, options?: { method?: string; isClosed?: boolean }): Parsed =>
  parse([Buffer.from(text, 'latin1')], options);

const OK = 'HTTP/1.1 200 OK\r\n';

describe('a valid response', () => {
  it('keeps names and values of all headers as they were written, in order', () => {
    const { heads, body, end, keepsAlive } = parseText(
      `${OK}Set-Cookie: a=1\r\nX-Empty:\r\nset-cookie:b=2  \r\nX-E: no\r\n` +
        'X-Latin: \t caf\xe9 \r\nContent-Length: 5\r\n\r\nhello',
    );
    const headers = ['Set-Cookie', 'a=1', 'X-Empty', '', 'set-cookie', 'b=2', 'X-E', 'no', 'X-Latin', 'caf\xe9'];
    expect(heads).toEqual([{ status: 200, reason: 'OK', headers: [...headers, 'Content-Length', '5'] }]);
    expect([body.toString(), end, keepsAlive]).toEqual(['hello', 'complete', true]);
  });

  it.each([
    ['with a length', 'Content-Length: 2\r\n\r\nok', true],
    ['with chunks', 'Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nTrailer: 1\r\n\r\n', true],
    ['with extensions of chunks', 'Transfer-Encoding: chunked\r\n\r\n2; a="\xe9;" ;b\r\nok\r\n0;c\r\n\r\n', true],
    ['until the connection is closed', '\r\nok', false],
    ['of a server that closes the connection', 'Connection: x, Close\r\nContent-Length: 2\r\n\r\nok', false],
  ])('%s is complete', (_what, rest, keepsAlive) => {
    const parsed = parseText(OK + rest);
    expect([parsed.body.toString(), parsed.end, parsed.keepsAlive]).toEqual(['ok', 'complete', keepsAlive]);
  });

  it('of HTTP/1.0 ends its connection', () => {
    expect(parseText('HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n')).toMatchObject({
      end: 'complete',
      keepsAlive: false,
    });
  });

  it.each([
    ['204', 'POST', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['304 with a length', 'POST', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n'],
    ['to HEAD with a length', 'HEAD', `${OK}Content-Length: 9\r\n\r\n`],
    ['to HEAD with chunks', 'HEAD', `${OK}Transfer-Encoding: chunked\r\n\r\n`],
    ['with the length 0', 'POST', `${OK}Content-Length: 0\r\n\r\n`],
  ])('%s has no body', (_what, method, text) => {
    expect(parseText(text, { method, isClosed: false })).toMatchObject({
      end: 'complete',
      pieces: 0,
      keepsAlive: true,
    });
  });

  it('is the same however it is cut into packets', () => {
    fc.assert(
      fc.property(generatedResponse, generatedCuts, ({ bytes, status, body, framing }, cuts) => {
        const whole = parse([Buffer.from(bytes)]);
        expect(whole.heads.map((head) => head.status)).toEqual([status]);
        expect(whole.body).toEqual(body);
        expect([whole.end, whole.keepsAlive]).toEqual(['complete', framing !== 'until_close']);
        expect({ ...parse(cutBytes(bytes, cuts)), pieces: 0 }).toEqual({ ...whole, pieces: 0 });
      }),
      { numRuns: 1000 },
    );
  });

  it('that is cut short is incomplete, unless it ends with the connection', () => {
    fc.assert(
      fc.property(generatedResponse, fc.nat(), ({ bytes, framing }, at) => {
        const cut = Buffer.from(bytes.subarray(0, at % bytes.length));
        const { heads, end } = parse([cut]);
        expect(end).toBe(framing === 'until_close' && heads.length > 0 ? 'complete' : 'incomplete');
      }),
      { numRuns: 1000 },
    );
  });
});

const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

const HOSTILE: Readonly<Record<string, string>> = {
  'another protocol': 'SSH-2.0-OpenSSH_9.2p1\r\n',
  'HTTP/2': '\0\0\x12\x04\0\0\0\0\0',
  'a status line without a version': '200 OK\r\n\r\n',
  'HTTP/2.0': 'HTTP/2.0 200 OK\r\n\r\n',
  'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
  'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
  'a status below 100': 'HTTP/1.1 099 OK\r\n\r\n',
  'a status over 599': 'HTTP/1.1 600 OK\r\n\r\n',
  'two spaces before the status': 'HTTP/1.1  200 OK\r\n\r\n',
  'a tab after the status': 'HTTP/1.1 200\tOK\r\n\r\n',
  'a control character in the reason': 'HTTP/1.1 200 O\0K\r\n\r\n',
  'an empty line before the status line': `\r\n${OK}\r\n`,
  'another protocol after 101': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
  'an interim response with a length': 'HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n',
  'a line feed alone after the status line': 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n',
  'a line feed alone after a header': `${OK}a: b\nContent-Length: 0\r\n\r\n`,
  'line feeds alone': 'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
  'a carriage return in a value': `${OK}a: b\rc: d\r\n\r\n`,
  'two carriage returns': `${OK}a: b\r\r\n\r\n`,
  'a folded header': `${OK}a: b\r\n c\r\n\r\n`,
  'a folded first line': `${OK} a: b\r\n\r\n`,
  'a space before the colon': `${OK}Content-Length : 0\r\n\r\n`,
  'a header without a colon': `${OK}a\r\n\r\n`,
  'a header without a name': `${OK}: b\r\n\r\n`,
  'a letter of Latin-1 in a name': `${OK}\xe9: b\r\n\r\n`,
  'a NUL in a value': `${OK}a: \0\r\n\r\n`,
  'both a length and chunks': `${OK}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'both, in the other order': `${OK}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n`,
  'two lengths': `${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
  'a length twice': `${OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`,
  'a list of lengths': `${OK}Content-Length: 1, 1\r\n\r\na`,
  'a negative length': `${OK}Content-Length: -1\r\n\r\n`,
  'a length with a sign': `${OK}Content-Length: +1\r\n\r\na`,
  'a hexadecimal length': `${OK}Content-Length: 0x1\r\n\r\na`,
  'an empty length': `${OK}Content-Length:\r\n\r\n`,
  'a length that is not exact': `${OK}Content-Length: 9007199254740993\r\n\r\n`,
  'a fraction as a length': `${OK}Content-Length: 1.0\r\n\r\na`,
  'another transfer encoding': `${OK}Transfer-Encoding: gzip\r\n\r\n`,
  'two transfer encodings': `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`,
  'chunks of chunks': `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a transfer encoding with a tail': `${OK}Transfer-Encoding: chunked;x\r\n\r\n`,
  'chunks in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'an empty chunk size': `${CHUNKED}\r\n\r\n`,
  'a chunk size with a sign': `${CHUNKED}+1\r\na\r\n0\r\n\r\n`,
  'a chunk size with a prefix': `${CHUNKED}0x1\r\na\r\n0\r\n\r\n`,
  'a chunk size with a letter': `${CHUNKED}1g\r\na\r\n0\r\n\r\n`,
  'a chunk size after a space': `${CHUNKED} 1\r\na\r\n0\r\n\r\n`,
  'a chunk size that is not exact': `${CHUNKED}ffffffffffffff\r\na`,
  'a chunk size of zeros': `${CHUNKED}${'0'.repeat(100)}\r\n\r\n`,
  'a chunk size with a line feed alone': `${CHUNKED}1\na\r\n0\r\n\r\n`,
  'a chunk size with a carriage return alone': `${CHUNKED}1\ra\r\n0\r\n\r\n`,
  'a chunk extension with a line feed alone': `${CHUNKED}1;a\na\r\n0\r\n\r\n`,
  'a chunk extension with a carriage return': `${CHUNKED}1;a\rb\r\na\r\n0\r\n\r\n`,
  'a long chunk extension': `${CHUNKED}1;${'a'.repeat(5000)}`,
  'a chunk that is longer than its size': `${CHUNKED}1\r\nab\r\n0\r\n\r\n`,
  'a chunk that ends with a line feed alone': `${CHUNKED}1\r\na\n0\r\n\r\n`,
  'a trailer that is not a header': `${CHUNKED}0\r\na b\r\n\r\n`,
  'a trailer with a line feed alone': `${CHUNKED}0\r\na: b\n\r\n`,
  'a head over 64 KiB': `${OK}a: ${'b'.repeat(64 * 1024)}\r\n\r\n`,
  'a head over 64 KiB in short lines': `${OK}${'a: b\r\n'.repeat(11_000)}\r\n`,
  'a status line over 64 KiB': `HTTP/1.1 200 ${'b'.repeat(64 * 1024)}`,
  'interim responses without an end': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(3000),
  'trailers over 64 KiB': `${CHUNKED}0\r\n${'a: b\r\n'.repeat(11_000)}\r\n`,
};

describe('a hostile response', () => {
  it.each(Object.entries(HOSTILE))('with %s has a problem, however it is cut', (_what, text) => {
    const bytes = Buffer.from(text, 'latin1');
    const { end } = parse([Buffer.from(bytes)], { isClosed: false });
    expect(end).not.toMatch(/^(complete|incomplete)$/);
    const single = Array.from(bytes, (byte) => Buffer.from([byte]));
    expect(parse(single, { isClosed: false }).end).toBe(end);
    fc.assert(
      fc.property(generatedCuts, (cuts) => {
        expect(parse(cutBytes(bytes, cuts), { isClosed: false }).end).toBe(end);
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    ['a body', `${OK}Content-Length: 2\r\n\r\nokX`, 'POST'],
    ['chunks', `${CHUNKED}2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n`, 'POST'],
    ['a 204', 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok', 'POST'],
    ['a response to HEAD', `${OK}Content-Length: 2\r\n\r\nok`, 'HEAD'],
  ])('with more bytes after %s has a problem and yields nothing', (_what, text, method) => {
    expect(parseText(text, { method })).toMatchObject({ end: 'more bytes follow it', heads: [], pieces: 0 });
  });

  it('has a problem before the end of its head', () => {
    expect(parseText('HTTP/1.1 200 OK\r\na b', { isClosed: false }).end).toBe('incomplete');
    expect(parseText('HTTP/1.1 200 OK\r\na b\r\n', { isClosed: false }).end).toBe('a header line is not valid');
    expect(parseText('220 smtp.example.com', { isClosed: false }).end).toBe('it is not an HTTP/1 response');
  });

  it('with any bytes has a result', () => {
    const nearly = fc.tuple(generatedResponse, fc.nat(), fc.uint8Array({ maxLength: 3 }), fc.nat({ max: 3 }));
    fc.assert(
      fc.property(nearly, generatedCuts, ([{ bytes }, position, inserted, removed], cuts) => {
        const at = position % (bytes.length + 1);
        const mutated = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
        const [whole, cut] = [parse([Buffer.from(mutated)]), parse(cutBytes(mutated, cuts))];
        // Packets before the one with the problem yield what they have. Bytes after the end are noticed only in the same packet.
        const isAlike = cut.end === whole.end || [whole.end, cut.end].includes('more bytes follow it');
        expect(isAlike, `${whole.end}, but ${cut.end} when cut`).toBe(true);
        if (whole.end === 'complete') expect({ ...cut, pieces: 0 }).toEqual({ ...whole, pieces: 0 });
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the work for a response', () => {
  it.each([
    ['a long header', (length: number) => `${OK}a: ${'b'.repeat(length)}`],
    ['a status line', (length: number) => `HTTP/1.1 200 ${'b'.repeat(length)}`],
    ['short headers', (length: number) => `${OK}${'a: b\r\n'.repeat(length / 6)}`],
    ['a body', (length: number) => `${OK}Content-Length: ${length}\r\n\r\n${'b'.repeat(length)}`],
    ['chunks', (length: number) => `${CHUNKED}${'1\r\nb\r\n'.repeat(length / 6)}`],
    ['one chunk', (length: number) => `${CHUNKED}${length.toString(16)}\r\n${'b'.repeat(length)}`],
    ['trailers', (length: number) => `${CHUNKED}0\r\na: ${'b'.repeat(length)}`],
  ])('that arrives byte by byte is linear in its length: %s', (_what, make) => {
    expectLinearTime((length) => {
      const bytes = Buffer.from(make(length), 'latin1');
      return () =>
        parse(
          Array.from(bytes, (byte) => Buffer.from([byte])),
          { isClosed: false },
        );
    }, 15_000);
  });

  it('with a huge number of tiny chunks is linear, and each packet yields one piece', () => {
    const make = (length: number): Buffer[] => {
      const bytes = Buffer.from(`${CHUNKED}${'1\r\nb\r\n'.repeat(length / 6)}0\r\n\r\n`, 'latin1');
      return cutBytes(
        bytes,
        Array.from({ length: bytes.length / 65_536 }, (_, index) => (index + 1) * 65_536),
      );
    };
    const { body, pieces, end } = parse(make(1_200_000));
    expect([body.length, pieces, end]).toEqual([200_000, 19, 'complete']);
    expectLinearTime((length) => {
      const packets = make(length);
      return () => parse(packets.map((packet) => Buffer.from(packet)));
    }, 600_000);
  });
});
