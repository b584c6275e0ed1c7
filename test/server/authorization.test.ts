import { afterEach, describe, expect, it } from 'vitest';
import { asReplicaId } from '../../src/core/ids.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { type Access, authorize, checkIdPrefix, OPEN_ACCESS } from '../../src/server/authorization.js';
import {
  formatRegistrationBody,
  openRawConnection,
  type RawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { until } from '../support/until.js';

const register = (): TokenSet => new TokenSet(['writer', 'old-writer', 'gpu-writer gpu-']);
const read = (): TokenSet => new TokenSet(['reader']);
const formatBearer = (token: string): string[] => [`Bearer ${token}`];

describe('authorization', () => {
  it.each<[Access, string[], string]>([
    ['read', formatBearer('reader'), 'granted'],
    ['read', formatBearer('writer'), 'granted'],
    ['read', formatBearer('gpu-writer'), 'granted'],
    ['register', formatBearer('writer'), 'granted'],
    ['register', formatBearer('old-writer'), 'granted'],
    ['register', formatBearer('reader'), 'unknown token: this request needs a register token'],
    ['register', [], 'this request needs a register token: send Authorization: Bearer TOKEN'],
    ['read', [], 'this request needs a read token or a register token: send Authorization: Bearer TOKEN'],
    ['read', formatBearer('nobody'), 'unknown token: this request needs a read token or a register token'],
  ])('for %s with %j: %s', (access, headers, outcome) => {
    const decision = authorize(access, headers, { register, read });
    expect(decision.kind === 'granted' ? 'granted' : decision.detail).toBe(outcome);
  });

  it('grants access that needs no token', () => {
    expect(authorize('read', [], { register }).kind).toBe('granted');
    expect(authorize('register', [], { read }).kind).toBe('granted');
    expect(authorize('register', formatBearer('x'), {})).toBe(OPEN_ACCESS);
  });

  it('limits a token with a prefix to ids with that prefix', () => {
    const decision = authorize('register', formatBearer('gpu-writer'), { register });
    const prefixes = decision.kind === 'granted' ? decision.prefixes : [];
    expect(checkIdPrefix(prefixes, asReplicaId('gpu-7'))).toBeUndefined();
    expect(checkIdPrefix(prefixes, asReplicaId('xgpu-7'))).toBe(
      'this token may only register ids that begin with "gpu-", not "xgpu-7"',
    );
  });
});

let server: TestApiServer;
const connections: RawConnection[] = [];

afterEach(async () => {
  for (const { socket } of connections.splice(0)) socket.destroy();
  await server?.close();
});

/** Returns the response to a request with these header lines. Of a stream, the beginning. */
async function fetchResponse(line: string, headers: readonly string[] = [], body = ''): Promise<string> {
  const length = body ? [`Content-Length: ${Buffer.byteLength(body)}`] : [];
  const head = [`${line} HTTP/1.1`, `Host: 127.0.0.1:${server.port}`, ...headers, ...length].join('\r\n');
  const connection = openRawConnection(server.port, `${head}\r\n\r\n${body}`);
  connections.push(connection);
  await until('the response arrives', () => connection.received().includes('\r\n\r\n'));
  return connection.received();
}

const fetchStatus = (text: string): number => Number(text.split(' ')[1]);

describe('a server that requires tokens', () => {
  const REGISTRATION = formatRegistrationBody('gpu-1');

  it.each([
    [[]],
    [['Authorization:']],
    [['Authorization: Bearer']],
    [['Authorization: Bearer wrong']],
    [['Authorization: Bearer write']],
    [['Authorization: Bearer writer2']],
    [['Authorization: Bearer wri ter']],
    [['Authorization: Basic writer']],
    [['Authorization: writer']],
    [['Authorization: Bearer writer', 'Authorization: Bearer writer']],
    [['Authorization: Bearer wrong', 'Authorization: Bearer writer']],
    [['Authorization: Bearer reader']],
  ])('refuses to change the registry with %j', async (headers) => {
    server = await startTestApiServer({ tokens: { register, read } });
    for (const [line, body] of [
      ['POST /register', REGISTRATION],
      ['PUT /leases/x', '{}'],
      ['DELETE /leases/x', ''],
    ] as const) {
      const text = await fetchResponse(line, headers, body);
      expect(fetchStatus(text)).toBe(401);
      expect(text.toLowerCase()).toContain('\r\nwww-authenticate: bearer\r\n');
      expect(text).toContain('this request needs a register token');
      expect(text).not.toMatch(/wrong|writer|reader/);
    }
    expect(server.registry.replicas()).toEqual([]);
    expect(server.log.lines.join()).not.toMatch(/writer|reader/);
  });

  it.each(['Authorization: Bearer writer', 'authorization: bearer old-writer', 'Authorization: Bearer  gpu-writer '])(
    'takes a registration with %j',
    async (header) => {
      server = await startTestApiServer({ tokens: { register, read } });
      expect(fetchStatus(await fetchResponse('POST /register', [header], REGISTRATION))).toBe(200);
      expect(fetchStatus(await fetchResponse('PUT /leases/x', [header], '{}'))).toBe(404);
    },
  );

  it('names the prefix when it refuses a token for other ids', async () => {
    server = await startTestApiServer({ tokens: { register, read } });
    const text = await fetchResponse(
      'POST /register',
      ['Authorization: Bearer gpu-writer'],
      formatRegistrationBody('cpu-1'),
    );
    expect(fetchStatus(text)).toBe(403);
    expect(text).toContain('this token may only register ids that begin with');
    expect(text).not.toContain('gpu-writer');
  });

  it('returns the list only with a token, and its health to everyone', async () => {
    server = await startTestApiServer({ tokens: { register, read } });
    for (const path of ['/route', '/registry', '/replicas', '/explain']) {
      expect(fetchStatus(await fetchResponse(`GET ${path}`))).toBe(401);
      expect(fetchStatus(await fetchResponse(`HEAD ${path}`))).toBe(401);
      expect(fetchStatus(await fetchResponse(`HEAD ${path}`, ['Authorization: Bearer reader']))).not.toBe(401);
      expect(fetchStatus(await fetchResponse(`GET ${path}`, ['Authorization: Bearer wrong']))).toBe(401);
      for (const token of ['reader', 'writer']) {
        expect(fetchStatus(await fetchResponse(`GET ${path}`, [`Authorization: Bearer ${token}`]))).not.toBe(401);
      }
    }
    expect(fetchStatus(await fetchResponse('GET /health'))).toBe(200);
    expect(fetchStatus(await fetchResponse('GET /nope'))).toBe(404);
    expect(fetchStatus(await fetchResponse('POST /route'))).toBe(405);
  });

  it('uses the tokens that are current at the time of the request', async () => {
    let tokens = new TokenSet(['old', 'new']);
    server = await startTestApiServer({ tokens: { read: () => tokens } });
    expect(fetchStatus(await fetchResponse('GET /registry', ['Authorization: Bearer old']))).toBe(200);
    tokens = new TokenSet(['new']);
    expect(fetchStatus(await fetchResponse('GET /registry', ['Authorization: Bearer old']))).toBe(401);
    expect(fetchStatus(await fetchResponse('GET /registry', ['Authorization: Bearer new']))).toBe(200);
  });
});

describe('a server without tokens', () => {
  it('ignores tokens in requests', async () => {
    server = await startTestApiServer();
    expect(
      fetchStatus(await fetchResponse('GET /registry', ['Authorization: Bearer x', 'Authorization: Basic y'])),
    ).toBe(200);
  });

  it.each([
    ['Origin: https://evil.test', 421],
    ['Origin: null', 421],
    ['Origin: http://127.0.0.1:1', 403],
    ['Origin: http://203.0.113.1', 403],
    ['Origin: http://localhost:3000', 403],
  ])('refuses a registration with %s', async (origin, status) => {
    server = await startTestApiServer();
    const text = await fetchResponse('POST /register', [origin], formatRegistrationBody('r1'));
    expect(fetchStatus(text)).toBe(status);
    expect(server.registry.replicas()).toEqual([]);
  });

  it('accepts a registration from a page of its origin', async () => {
    server = await startTestApiServer();
    const origin = `Origin: http://127.0.0.1:${server.port}`;
    expect(fetchStatus(await fetchResponse('POST /register', [origin], formatRegistrationBody('r1')))).toBe(200);
  });

  it('warns when other machines can reach it', async () => {
    server = await startTestApiServer({ host: '0.0.0.0' });
    expect(server.log.lines).toEqual([expect.stringContaining('anyone who can reach 0.0.0.0 can register replicas')]);
    await server.close();
    server = await startTestApiServer({ host: '0.0.0.0', tokens: { register } });
    expect(server.log.lines).toEqual([]);
  });
});
