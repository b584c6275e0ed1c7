import { afterEach, describe, expect, it } from 'vitest';
import { TokenSet } from '../../src/credentials/token-set.js';
import { BodyMemory } from '../../src/http/body-memory.js';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  type RawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { createRecordingEvents } from '../support/replicas.js';
import { until } from '../support/until.js';

let server: TestApiServer;
let connection: RawConnection | undefined;

afterEach(async () => {
  connection?.socket.destroy();
  await server.close();
});

async function fetchStatus(text: string): Promise<number> {
  const opened = openRawConnection(server.port, text);
  connection = opened;
  await until('there is a response', () => opened.received().includes('\r\n\r\n'));
  return Number(opened.received().split(' ')[1]);
}

const TOKENS = { register: () => new TokenSet(['the-secret-token']) };
const BODY = formatRegistrationBody('r1');
const formatWithHeaders = (headers: string): string =>
  formatRegisterRequest(BODY).replace('\r\n\r\n', `\r\n${headers}\r\n\r\n`);
const MANY = Array.from({ length: 101 }, (_, n) => `X-${n}: 1`).join('\r\n');

describe('a registration that is refused before its body is parsed', () => {
  it.each([
    [
      401,
      'unauthenticated',
      'this request needs a register token: send Authorization: Bearer TOKEN',
      {},
      formatRegisterRequest(BODY),
    ],
    [
      401,
      'unauthenticated',
      'unknown token: this request needs a register token',
      {},
      formatWithHeaders('Authorization: Bearer other-secret'),
    ],
    [431, 'too_large', 'the request has more than 100 headers', {}, formatWithHeaders(MANY)],
    [400, 'usage', 'the request has more than one Host header', {}, formatWithHeaders('Host: x')],
    [
      503,
      'unavailable',
      'too many large request bodies are being read; try again',
      { tokens: {}, bodies: new BodyMemory(1000) },
      formatRegisterRequest(formatRegistrationBody('r1', [{ padding: 'x'.repeat(20_000) }])),
    ],
    [
      421,
      'permission_denied',
      'the host "evil.test" is not allowed',
      { tokens: {} },
      formatRegisterRequest(BODY).replace(/Host: .*/, 'Host: evil.test'),
    ],
  ])('with %i emits an event with the code %s', async (status, code, reason, options, request) => {
    const events = createRecordingEvents();
    server = await startTestApiServer({ tokens: TOKENS, events, ...options });
    expect(await fetchStatus(request)).toBe(status);
    const refusals = events.all.filter(({ kind }) => kind === 'registration_refused');
    expect(refusals).toMatchObject([
      {
        kind: 'registration_refused',
        replicaId: undefined,
        host: '127.0.0.1',
        code,
        reason: expect.stringContaining(reason),
      },
    ]);
    expect(JSON.stringify(events.all)).not.toContain('secret');
  });

  it('emits none for other requests', async () => {
    const events = createRecordingEvents();
    server = await startTestApiServer({ tokens: { ...TOKENS, read: TOKENS.register }, events });
    for (const line of ['GET /register', 'GET /route', 'PUT /leases/x']) {
      expect(await fetchStatus(`${line} HTTP/1.1\r\nHost: x\r\n\r\n`)).toBeGreaterThanOrEqual(401);
    }
    expect(events.all.filter(({ kind }) => kind === 'registration_refused')).toEqual([]);
  });
});
