import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createParser } from 'eventsource-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { splitAtDashes } from '../../src/cli/arguments.js';
import { textFor } from '../../src/cli/output.js';
import { tableText } from '../../src/cli/table.js';
import { callFailure } from '../../src/client/call-failure.js';
import { tlsFailure } from '../../src/client/tls-failure.js';
import { endpointProblem, parseDialable } from '../../src/core/endpoint.js';
import { AnyserveError, messageOf } from '../../src/core/errors.js';
import { isLoopback } from '../../src/core/loopback.js';
import { printable } from '../../src/core/printable.js';
import { quoted } from '../../src/core/quoted.js';
import { trimTrailingSlashes } from '../../src/core/trailing-slashes.js';
import { bearerToken } from '../../src/credentials/token-set.js';
import { saidIn } from '../../src/inference/openai-errors.js';
import { originForm, parseTarget } from '../../src/server/request-target.js';
import { detailFromText, faultsLine, replicasFromText, routeFromText } from '../../src/wire/answers.js';
import { JsonSyntaxError, parseJson } from '../../src/wire/json.js';
import { parseRenewal } from '../../src/wire/lease.js';
import { registeredEvent } from '../../src/wire/lease-events.js';
import { createLineFeeds } from '../../src/wire/line-feeds.js';
import { excludedFromHeader, queryFromSearch } from '../../src/wire/query.js';
import { faultsText, parseRegistration } from '../../src/wire/registration.js';
import { datatypeAndShape } from '../../src/wire/tensor-spec.js';
import { statusDetails } from '../../src/worker/service-error.js';
import { StopTexts } from '../../src/worker/stop-texts.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { expectLinearTime, leastMs } from '../support/cpu-cost.js';

/** A unit over and over, as long as asked. */
function repeated(unit: string, length: number): string {
  return unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
}

/** What makes careless patterns and loops slow: runs that end otherwise than expected, many small parts, bad escapes. */
const SHAPES: Readonly<Record<string, (length: number) => string>> = {
  'a run of slashes, then a letter': (length) => `/${repeated('/', length)}x`,
  'a run of spaces, then a letter': (length) => `a${repeated(' ', length)}x`,
  'a run of tabs and line feeds': (length) => `a${repeated('\t\n', length)}x`,
  'a run of carriage returns': (length) => repeated('\r', length),
  'a run of digits, then a letter': (length) => `${repeated('1', length)}x`,
  'a run of zeros and dots': (length) => repeated('0.', length),
  'a run of dots': (length) => `a${repeated('.', length)}!`,
  'a run of colons': (length) => repeated(':', length),
  'a run of brackets': (length) => `[${repeated('[', length)}`,
  'a run of commas': (length) => repeated(',', length),
  'a run of letters': (length) => repeated('a', length),
  'a run of pluses, then a letter': (length) => `application/${repeated('+', length)}x`,
  'broken escapes': (length) => repeated('%,%zz&', length),
  'escaped characters': (length) => repeated('%61&', length),
  'backslashes and quotes': (length) => `"${repeated('\\"', length)}`,
  'empty objects': (length) => `{"capabilities":[${repeated('{},', length)}{}]}`,
  'one key again and again': (length) => `{${repeated('"a":1,', length)}"a":1}`,
  'keys that are numbers': (length) =>
    `{${Array.from({ length: length / 14 }, (_, at) => `"${at * 65536}":1`).join(',')}}`,
  'pairs of a query': (length) => Array.from({ length: length / 6 }, (_, at) => `${at.toString(36)}=`).join('&'),
  'control characters': (length) => repeated('\u001b\u009b\u202e\ud800', length),
  emoji: (length) => `"${repeated('😀', length)}`,
  'a bearer token far away': (length) => `Bearer ${repeated(' ', length)}x`,
  'names of a certificate': (length) => repeated("does not match certificate's altnames: x ", length),
};

/** What reads text from outside. Most of them refuse most of these. */
const READERS: Readonly<Record<string, (text: string) => unknown>> = {
  trimTrailingSlashes,
  originForm,
  parseTarget,
  queryFromSearch,
  excludedFromHeader,
  bearerToken: (text) => bearerToken([text]),
  parseJson,
  parseRegistration: (text) => {
    const outcome = parseRegistration(text);
    return outcome.kind === 'faults' ? faultsText(outcome.faults) : outcome;
  },
  parseRenewal,
  endpointProblem,
  parseDialable,
  isLoopback,
  messageOf: (text) => messageOf(new Error(text)),
  'an error that quotes it': (text) => new AnyserveError('usage', quoted(text)),
  printable,
  'a table': (text) => tableText(['ID', 'STATE'], [[text, text]], { stdout: {}, env: {} } as never),
  'a text at a terminal': (text) => textFor({ isTTY: true }, text),
  detailFromText,
  faultsLine,
  routeFromText,
  replicasFromText,
  registeredEvent: (text) => registeredEvent(text as never),
  tlsFailure,
  callFailure: (text) =>
    callFailure({ code: 14, details: text } as never, 'e', { isSecure: false, maxMessageBytes: 1 }),
  saidIn,
  statusDetails,
  datatypeAndShape: (text) => datatypeAndShape('input "x"', text),
  'an event stream': (text) => {
    const lineFeeds = createLineFeeds();
    const parser = createParser({ onEvent: () => {} });
    parser.feed(lineFeeds(text));
    for (const piece of text.slice(0, 4096)) parser.feed(lineFeeds(piece));
  },
  'stop texts': (text) => {
    const stops = new StopTexts([text]);
    for (let at = 0; at < text.length; at += 16) stops.push(text.slice(at + 1, at + 17));
  },
  splitAtDashes: (text) => splitAtDashes([text]),
};

/** Runs a reader that may refuse. */
function read(reader: (text: string) => unknown, text: string): void {
  try {
    reader(text);
  } catch (error) {
    if (!(error instanceof AnyserveError || error instanceof JsonSyntaxError)) throw error;
  }
}

describe.each(Object.entries(READERS))('the time of %s is linear in the length', (_name, reader) => {
  it.each(Object.entries(SHAPES))('of %s', (_shape, make) => {
    expectLinearTime((length) => {
      const text = make(length);
      return () => read(reader, text);
    }, 8 * 1024);
  });
});

it('the measure tells quadratic work from linear work', () => {
  const careless = (length: number) => {
    const text = SHAPES['a run of spaces, then a letter']?.(length) ?? '';
    return () => /\s*\n/.test(text);
  };
  expect(() => expectLinearTime(careless, 512)).toThrow('for 4 times the length');
});

describe('a request of 16 KB', () => {
  let server: TestApiServer;
  let socket: Socket;

  beforeAll(async () => {
    server = await startTestApiServer();
    socket = await connected();
  });
  afterAll(async () => {
    socket.destroy();
    await server.close();
  });

  async function connected(): Promise<Socket> {
    const opened = connect({ port: server.port, host: '127.0.0.1' });
    opened.setNoDelay(true).on('error', () => {});
    await once(opened, 'connect');
    return opened;
  }

  /** Sends a request and waits for its answer, or for the end of the connection that it is answered with. */
  async function ask(text: string): Promise<void> {
    if (socket.destroyed || socket.readableEnded) socket = await connected();
    socket.write(text, 'latin1');
    await new Promise<void>((resolve) => {
      const done = (): void => {
        socket.off('data', done).off('close', done);
        resolve();
      };
      socket.on('data', done).on('close', done);
    });
  }

  const LENGTH = 15_900;
  const get = (target: string, headers = ''): string => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
  const put = (target: string): string => `PUT ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`;
  const header = (name: string, value: string): string => get('/route', `${name}: ${value.slice(0, LENGTH)}\r\n`);
  const printableShapes = Object.entries(SHAPES)
    .map(([name, make]) => [name, make(LENGTH)] as const)
    .filter(([, text]) => /^[\x21-\x7e]*$/.test(text));
  const REQUESTS: readonly (readonly [name: string, text: string])[] = [
    ['slashes behind a path', get(`/register${repeated('/', LENGTH)}`)],
    ['hashes', get(`/${repeated('#', LENGTH)}`)],
    ['backslashes', get(`/${repeated('\\', LENGTH)}`)],
    ['an absolute form', get(`http://${repeated('a.', LENGTH)}/#`)],
    ['many headers', get('/route', repeated('a:\r\n', 7000))],
    ...printableShapes.flatMap(([name, text]) => [
      [`a path: ${name}`, get(`/${text.slice(0, LENGTH)}`)] as const,
      [`a query: ${name}`, get(`/route?${text.slice(0, LENGTH)}`)] as const,
      [`a lease: ${name}`, put(`/leases/${text.slice(0, LENGTH)}`)] as const,
    ]),
    ...Object.entries(SHAPES)
      .map(([name, make]) => [name, make(LENGTH)] as const)
      .filter(([, text]) => /^[\t\x20-\x7e]*$/.test(text))
      .flatMap(([name, text]) =>
        ['Host', 'Origin', 'X-Anyserve-Exclude', 'Authorization', 'Content-Type'].map(
          (field) => [`${field}: ${name}`, header(field, text)] as const,
        ),
      ),
  ];

  it.each(REQUESTS)('costs about a millisecond: %s', async (_name, text) => {
    const shortMs = await leastMs(() => ask(get('/route')), 5);
    // What is more than a short request takes; the machine can be busy for a while.
    let costMs = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 5 && costMs > 2; attempt++) {
      costMs = Math.min(costMs, (await leastMs(() => ask(text), 5)) - shortMs);
    }
    expect(costMs).toBeLessThan(4);
  });
});
