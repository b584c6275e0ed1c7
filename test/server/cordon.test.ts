import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TokenSet } from '../../src/credentials/token-set.js';
import {
  formatRegisterRequest,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { until } from '../support/until.js';

let server: TestApiServer;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  server = await startTestApiServer();
  cleanups.push(() => server.close());
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Registers a replica, and resolves with its lease id when the server has responded. */
async function register(more: object = {}, id = 'r1'): Promise<string> {
  const body = { replica_id: id, endpoint: 'h:1', capabilities: [{ type: 'chat' }], ttl: 60, ...more };
  const connection = openRawConnection(server.port, formatRegisterRequest(JSON.stringify(body)));
  cleanups.push(() => connection.socket.destroy());
  await until('the server has responded', () => /alive|detail/.test(connection.received()));
  expect(connection.received()).toMatch(/^HTTP\/1.1 200 /);
  return /^x-anyserve-lease: (\S+)\r$/im.exec(connection.received())?.[1] ?? '';
}

async function send(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}${path}`, { method, headers, ...(body !== undefined && { body }) });
  return { status: response.status, text: await response.text() };
}

async function sendCordon(method: 'PUT' | 'DELETE', id = 'r1', body?: string) {
  const { status, text } = await send(method, `/replicas/${encodeURIComponent(id)}/cordon`, body);
  return { status, ...JSON.parse(text) };
}

async function renew(lease: string, body: object = {}): Promise<string> {
  const { status, text } = await send('PUT', `/leases/${lease}`, JSON.stringify({ state: 'ready', ...body }));
  expect(status).toBe(200);
  return text;
}

async function getRow(): Promise<{ readonly state: string; readonly cordon?: unknown }> {
  return JSON.parse((await send('GET', '/replicas')).text).replicas[0];
}

const INSTANCE = { instance: { id: 'a', seq: 1, startedMs: 1 } };

describe('PUT and DELETE /replicas/{id}/cordon', () => {
  it('take a replica out of /route and /registry and put it back, and /replicas shows both', async () => {
    const lease = await register(INSTANCE);
    expect(await renew(lease)).toBe('{"status":"renewed"}');
    const set = await sendCordon('PUT', 'r1', '{"reason":"bad GPU"}');
    const cordon = { cordoned: true, reason: 'bad GPU', at: expect.any(Number) };
    expect(set).toEqual({ status: 'cordoned', replica_id: 'r1', cordon, repeated_by_replica: true });
    expect(Math.abs(set.cordon.at - Date.now())).toBeLessThan(60_000);
    expect((await send('GET', '/route?type=chat')).status).toBe(404);
    expect((await send('GET', '/registry')).text).toBe('{"replicas":[]}');
    expect(await getRow()).toMatchObject({ state: 'ready', cordon: set.cordon });
    expect(await renew(lease)).toBe(`{"status":"renewed","cordon":${JSON.stringify(set.cordon)}}`);

    const { status, cordon: uncordon } = await sendCordon('DELETE');
    expect([status, uncordon]).toEqual(['uncordoned', { cordoned: false, reason: '', at: expect.any(Number) }]);
    expect(uncordon.at).toBeGreaterThan(set.cordon.at);
    expect((await send('GET', '/route?type=chat')).status).toBe(200);
    expect(await getRow()).toMatchObject({ state: 'ready', cordon: uncordon });
    expect(await renew(lease)).toBe(`{"status":"renewed","cordon":${JSON.stringify(uncordon)}}`);
    expect(server.log.lines).toEqual(expect.arrayContaining(['cordoned "r1": bad GPU', 'uncordoned "r1"']));
  });

  it.each([undefined, '', ' ', '{}', '{"reason":null}', '{"reason":"","other":[1]}'])(
    'accept the body %j, which has no reason',
    async (body) => {
      await register();
      expect((await sendCordon('PUT', 'r1', body)).cordon).toMatchObject({ cordoned: true, reason: '' });
    },
  );

  it.each([
    ['[]', 422, '["body"]'],
    ['{', 422, 'json_invalid'],
    ['{"reason":1}', 422, '["body","reason"]'],
    [JSON.stringify({ reason: 'é'.repeat(129) }), 422, 'it must have at most 256 bytes'],
    [JSON.stringify({ reason: 'x'.repeat(5000) }), 413, 'more than 4096 bytes'],
  ])('refuse the body %.20s', async (body, status, text) => {
    await register();
    const refused = await send('PUT', '/replicas/r1/cordon', body);
    expect(refused.status).toBe(status);
    expect(refused.text).toContain(text);
    expect(await getRow()).not.toHaveProperty('cordon');
  });

  it.each(['a/b', '?', 'é 😀', '%2F', '#', '__proto__', 'cordon', 'x'.repeat(128)])('accept the id %j', async (id) => {
    await register({}, id);
    expect(await sendCordon('PUT', id)).toMatchObject({ status: 'cordoned', replica_id: id });
    expect((await send('GET', '/registry')).text).toBe('{"replicas":[]}');
  });

  it.each(['.', '..'])('accept the id %j, although clients shorten such paths', async (id) => {
    await register({}, id);
    const request = `PUT /replicas/${id}/cordon HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`;
    const { received, socket } = openRawConnection(server.port, request);
    await until('the server has responded', () => received().endsWith('}'));
    socket.destroy();
    expect(received()).toMatch(/^HTTP\/1.1 200 /);
  });

  it('respond with 404 for an unknown id', async () => {
    const unknown = { detail: 'no replica with the id "r2" is registered' };
    expect(await sendCordon('PUT', 'r2')).toEqual({ status: 404, ...unknown });
    expect(await sendCordon('DELETE', 'r2')).toEqual({ status: 404, ...unknown });
    expect(await send('PUT', '/replicas/%zz/cordon')).toEqual({ status: 404, text: '{"detail":"Not Found"}' });
  });

  it.each([
    ['a two-way lease without an instance', { ttl: 60 }],
    ['a one-way lease', { ttl: null, ...INSTANCE }],
  ])('say that %s does not repeat the cordon', async (_name, terms) => {
    await register(terms);
    expect(await sendCordon('PUT')).toMatchObject({ status: 'cordoned', repeated_by_replica: false });
  });

  it('need a register token whose prefixes cover the id', async () => {
    const [registerToken, readToken] = ['r'.repeat(32), 'a'.repeat(32)];
    server = await startTestApiServer({
      tokens: {
        register: () => new TokenSet([`${registerToken} gpu-`]),
        read: () => new TokenSet([readToken]),
      },
    });
    cleanups.push(() => server.close());
    const cordon = async (id: string, token?: string, method = 'PUT') => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const { status, text } = await send(
        method,
        `/replicas/${id}/cordon`,
        undefined,
        headers as Record<string, string>,
      );
      return [status, text];
    };
    expect(await cordon('gpu-1')).toEqual([401, expect.stringContaining('a register token')]);
    expect(await cordon('gpu-1', readToken)).toEqual([401, expect.stringContaining('a register token')]);
    const mayOnly = 'this token may only cordon ids that begin with \\"gpu-\\", not \\"cpu-1\\"';
    expect(await cordon('cpu-1', registerToken)).toEqual([403, `{"detail":"${mayOnly}"}`]);
    expect(await cordon('cpu-1', registerToken, 'DELETE')).toEqual([403, expect.stringContaining('may only uncordon')]);
    expect(await cordon('gpu-1', registerToken)).toEqual([404, expect.stringContaining('gpu-1')]);
  });
});

describe('a replica that repeats its cordon', () => {
  const cordon = { cordoned: true, reason: 'bad GPU', at: 5 };

  it('is cordoned from its registration on', async () => {
    const lease = await register({ cordon });
    expect((await send('GET', '/route?type=chat')).status).toBe(404);
    expect(await renew(lease)).toBe(`{"status":"renewed","cordon":${JSON.stringify(cordon)}}`);
  });

  it('gets the newer cordon in the response to its renewal', async () => {
    const lease = await register();
    expect(await renew(lease, { cordon, seq: 1 })).toContain(JSON.stringify(cordon));
    const newer = { cordoned: false, reason: '', at: 6 };
    expect(await renew(lease, { cordon: newer })).toContain(JSON.stringify(newer));
    expect(await renew(lease, { cordon })).toContain(JSON.stringify(newer));
    expect((await send('GET', '/route?type=chat')).status).toBe(200);
  });

  it.each([
    ['true', '["body","cordon"]'],
    ['{"at":1}', '["body","cordon","cordoned"]'],
    ['{"cordoned":true}', '["body","cordon","at"]'],
    ['{"cordoned":true,"at":8640000000000001}', '["body","cordon","at"]'],
    ['{"cordoned":true,"at":-1}', '["body","cordon","at"]'],
    ['{"cordoned":true,"at":1,"reason":[]}', '["body","cordon","reason"]'],
  ])('gets a 422 for the cordon %s', async (invalid, place) => {
    const lease = await register();
    const { status, text } = await send('PUT', `/leases/${lease}`, `{"cordon":${invalid}}`);
    expect(status).toBe(422);
    expect(text).toContain(place);
  });
});
