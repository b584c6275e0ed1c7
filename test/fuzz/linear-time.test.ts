import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createParser } from 'eventsource-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  formatValidationIssues,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
} from '../../src/api/api-responses.js';
import { formatRegisteredEvent } from '../../src/api/lease-events.js';
import { parseRenewal } from '../../src/api/lease-renewal.js';
import { parseExcludeHeader, parseQuery } from '../../src/api/query.js';
import { parseRegistration } from '../../src/api/registration.js';
import { parseSelectorHeader } from '../../src/api/selector-header.js';
import { serializeValidationIssues } from '../../src/api/validation-issues.js';
import { splitAtDashes } from '../../src/cli/arguments.js';
import { escapeForStream } from '../../src/cli/output.js';
import { formatTable } from '../../src/cli/table.js';
import { toCallError } from '../../src/client/call-failure.js';
import { createLineEndingNormalizer } from '../../src/client/event-stream.js';
import { escapeControls } from '../../src/core/control-characters.js';
import { findEndpointProblem, parseDialable } from '../../src/core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../../src/core/errors.js';
import { isLoopback } from '../../src/core/host.js';
import { quote } from '../../src/core/quoting.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { explainTlsError } from '../../src/core/tls.js';
import { parseBearerToken } from '../../src/credentials/token-set.js';
import { parseTarget, toOriginForm, trimTrailingSlashes } from '../../src/http/request-head.js';
import { extractErrorMessage } from '../../src/inference/openai-errors.js';
import { parseTensorSpec } from '../../src/inference/tensor-spec.js';
import { JsonSyntaxError, parseJson } from '../../src/json/exact-json.js';
import { formatStatusDetails } from '../../src/worker/service-error.js';
import { StopSequences } from '../../src/worker/stop-sequences.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { expectLinearTime, measureLeastAsyncCpuMs } from '../support/cpu-cost.js';

/** Repeats a unit up to a length. */
function repeatUnit(unit: string, length: number): string {
  return unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
}

/** Inputs that make careless patterns and loops slow: runs with an unexpected end, many small parts, invalid escapes. */
const SHAPES: Readonly<Record<string, (length: number) => string>> = {
  'a run of slashes, then a letter': (length) => `/${repeatUnit('/', length)}x`,
  'a run of spaces, then a letter': (length) => `a${repeatUnit(' ', length)}x`,
  'a run of tabs and line feeds': (length) => `a${repeatUnit('\t\n', length)}x`,
  'a run of carriage returns': (length) => repeatUnit('\r', length),
  'a run of digits, then a letter': (length) => `${repeatUnit('1', length)}x`,
  'a run of zeros and dots': (length) => repeatUnit('0.', length),
  'a run of dots': (length) => `a${repeatUnit('.', length)}!`,
  'a run of colons': (length) => repeatUnit(':', length),
  'a run of brackets': (length) => `[${repeatUnit('[', length)}`,
  'a run of commas': (length) => repeatUnit(',', length),
  'a run of letters': (length) => repeatUnit('a', length),
  'a run of pluses, then a letter': (length) => `application/${repeatUnit('+', length)}x`,
  'invalid escapes': (length) => repeatUnit('%,%zz&', length),
  'escaped characters': (length) => repeatUnit('%61&', length),
  'backslashes and quotes': (length) => `"${repeatUnit('\\"', length)}`,
  'empty objects': (length) => `{"capabilities":[${repeatUnit('{},', length)}{}]}`,
  'one repeated key': (length) => `{${repeatUnit('"a":1,', length)}"a":1}`,
  'keys that are numbers': (length) =>
    `{${Array.from({ length: length / 14 }, (_, at) => `"${at * 65536}":1`).join(',')}}`,
  'pairs of a query': (length) => Array.from({ length: length / 6 }, (_, at) => `${at.toString(36)}=`).join('&'),
  'control characters': (length) => repeatUnit('\u001b\u009b\u202e\ud800', length),
  emoji: (length) => `"${repeatUnit('😀', length)}`,
  'a bearer token after many spaces': (length) => `Bearer ${repeatUnit(' ', length)}x`,
  'names of a certificate': (length) => repeatUnit("does not match certificate's altnames: x ", length),
};

/** Functions that parse or format untrusted text. Most of them reject most of the inputs. */
const READERS: Readonly<Record<string, (text: string) => unknown>> = {
  trimTrailingSlashes,
  originForm: toOriginForm,
  parseTarget,
  queryFromSearch: parseQuery,
  excludedFromHeader: parseExcludeHeader,
  selectorFromHeader: (text) => parseSelectorHeader([text], 'header'),
  bearerToken: (text) => parseBearerToken([text]),
  parseJson,
  parseRegistration: (text) => {
    const outcome = parseRegistration(text);
    return outcome.kind === 'invalid' ? serializeValidationIssues(outcome.issues) : outcome;
  },
  parseRenewal,
  endpointProblem: findEndpointProblem,
  parseDialable,
  isLoopback,
  messageOf: (text) => getErrorMessage(new Error(text)),
  'an error that quotes it': (text) => new AnyserveError('usage', quote(text)),
  printable: escapeControls,
  'a table': (text) => formatTable(['ID', 'STATE'], [[text, text]], { stdout: {}, env: {} } as never),
  'a text at a terminal': (text) => escapeForStream({ isTTY: true }, text),
  detailFromText: parseErrorDetail,
  faultsLine: formatValidationIssues,
  routeFromText: parseRouteResponse,
  replicasFromText: parseRegistryResponse,
  registeredEvent: (text) => formatRegisteredEvent(text as never),
  tlsFailure: explainTlsError,
  callFailure: (text) =>
    toCallError({ code: 14, details: text } as never, 'e', { isSecure: false, maxMessageBytes: 1 }),
  saidIn: extractErrorMessage,
  statusDetails: formatStatusDetails,
  datatypeAndShape: (text) => parseTensorSpec('input "x"', text),
  'an event stream': (text) => {
    const lineFeeds = createLineEndingNormalizer();
    const parser = createParser({ onEvent: () => {} });
    parser.feed(lineFeeds(text));
    for (const piece of text.slice(0, 4096)) parser.feed(lineFeeds(piece));
  },
  'stop texts': (text) => {
    const stops = new StopSequences([text]);
    for (let at = 0; at < text.length; at += 16) stops.push(text.slice(at + 1, at + 17));
  },
  splitAtDashes: (text) => splitAtDashes([text]),
};

/** Runs a function that can throw an expected error. */
function read(reader: (text: string) => unknown, text: string): void {
  try {
    reader(text);
  } catch (error) {
    if (!(error instanceof AnyserveError || error instanceof JsonSyntaxError)) throw error;
  }
}

describe.each(Object.entries(READERS))('the time of %s is linear in the length', (_name, reader) => {
  it.each(Object.entries(SHAPES))('for %s', (_shape, make) => {
    expectLinearTime((length) => {
      const text = make(length);
      return () => read(reader, text);
    }, 8 * 1024);
  });
});

describe('the time of parsing a selector is linear in the length', () => {
  const SELECTORS: typeof SHAPES = {
    ...SHAPES,
    'a list of values': (length) => `a in (${repeatUnit('b,', length)}c)`,
    'a list of quoted values': (length) => `a notin (${repeatUnit('"b\\"",', length)}c)`,
    'a list without an end': (length) => `a in (${repeatUnit('b , ', length)}`,
    'a quoted value': (length) => `a="${repeatUnit('b', length)}"`,
    'a number of many digits': (length) => `a>${repeatUnit('0', length)}1`,
  };

  it.each(Object.entries(SELECTORS))('for %s', (_shape, make) => {
    // Longer ones can exceed the limit of 4 KiB, and aren't parsed. So short ones are parsed many times.
    expectLinearTime((length) => {
      const text = make(length);
      return () => {
        for (let run = 0; run < 1000; run++) read((selector) => parseSelector(selector, 'selector'), text);
      };
    }, 480);
  });
});

it('the measurement distinguishes quadratic from linear time', () => {
  const matchCarelessly = (length: number) => {
    const text = SHAPES['a run of spaces, then a letter']?.(length) ?? '';
    return () => /\s*\n/.test(text);
  };
  expect(() => expectLinearTime(matchCarelessly, 2048)).toThrow('for 4 times the length');
});

describe('a request of 16 KB', () => {
  let server: TestApiServer;
  let socket: Socket;

  beforeAll(async () => {
    server = await startTestApiServer();
    socket = await connectSocket();
  });
  afterAll(async () => {
    socket.destroy();
    await server.close();
  });

  async function connectSocket(): Promise<Socket> {
    const opened = connect({ port: server.port, host: '127.0.0.1' });
    opened.setNoDelay(true).on('error', () => {});
    await once(opened, 'connect');
    return opened;
  }

  /** Sends a request and waits for its response, or for the server to close the connection. */
  async function ask(text: string): Promise<void> {
    if (socket.destroyed || socket.readableEnded) socket = await connectSocket();
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
  const formatHeaderRequest = (name: string, value: string): string =>
    get('/route', `${name}: ${value.slice(0, LENGTH)}\r\n`);
  const printableShapes = Object.entries(SHAPES)
    .map(([name, make]) => [name, make(LENGTH)] as const)
    .filter(([, text]) => /^[\x21-\x7e]*$/.test(text));
  const REQUESTS: readonly (readonly [name: string, text: string])[] = [
    ['slashes after a path', get(`/register${repeatUnit('/', LENGTH)}`)],
    ['hashes', get(`/${repeatUnit('#', LENGTH)}`)],
    ['backslashes', get(`/${repeatUnit('\\', LENGTH)}`)],
    ['an absolute form', get(`http://${repeatUnit('a.', LENGTH)}/#`)],
    ['many headers', get('/route', repeatUnit('a:\r\n', 7000))],
    ...printableShapes.flatMap(([name, text]) => [
      [`a path: ${name}`, get(`/${text.slice(0, LENGTH)}`)] as const,
      [`a query: ${name}`, get(`/route?${text.slice(0, LENGTH)}`)] as const,
      [`a lease: ${name}`, put(`/leases/${text.slice(0, LENGTH)}`)] as const,
    ]),
    ...Object.entries(SHAPES)
      .map(([name, make]) => [name, make(LENGTH)] as const)
      .filter(([, text]) => /^[\t\x20-\x7e]*$/.test(text))
      .flatMap(([name, text]) =>
        [
          'Host',
          'Origin',
          'X-Anyserve-Exclude',
          'X-Anyserve-Selector',
          'X-Anyserve-Prefer',
          'Authorization',
          'Content-Type',
        ].map((field) => [`${field}: ${name}`, formatHeaderRequest(field, text)] as const),
      ),
  ];

  it.each(REQUESTS)('takes about a millisecond of CPU time: %s', async (_name, text) => {
    const shortMs = await measureLeastAsyncCpuMs(() => ask(get('/route')), 5);
    // The time beyond that of a short request. Repeated, because a garbage collection can be the cause.
    let costMs = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 5 && costMs > 2; attempt++) {
      costMs = Math.min(costMs, (await measureLeastAsyncCpuMs(() => ask(text), 5)) - shortMs);
    }
    expect(costMs).toBeLessThan(4);
  });
});
