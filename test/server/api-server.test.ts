import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  formatRegisterRequest,
  formatRegistrationBody,
  openRawConnection,
  startTestApiServer,
  type TestApiServer,
} from '../support/api-server.js';
import { until } from '../support/until.js';

let server: TestApiServer;

beforeEach(async () => {
  server = await startTestApiServer();
});

afterEach(async () => {
  await server.close();
});

/** Registers over a raw connection, and waits for the first events. */
async function startRegistrant(body: string, options = {}) {
  const connection = openRawConnection(server.port, formatRegisterRequest(body, options));
  await until('the first heartbeat', () => connection.received().includes('alive'));
  return connection;
}

function waitUntilRegistered(): string[] {
  return server.registry.replicas().map(({ id }) => id);
}

/** Returns the text of a response without its date. */
function removeDate(received = ''): string {
  return received.replace(/Date: [^\r]+/, 'Date: now');
}

async function get(path: string, init?: RequestInit) {
  const response = await fetch(`${server.url}${path}`, { redirect: 'manual', ...init });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

describe('a response', () => {
  it('has the exact bytes for /health, no match and an empty list', async () => {
    expect(await get('/health')).toMatchObject({ status: 200, body: '{"status":"healthy"}' });
    expect(await get('/route?model=x')).toMatchObject({ status: 404, body: '{"detail":"no matching replica"}' });
    expect(await get('/registry')).toMatchObject({ status: 200, body: '{"replicas":[]}' });
    expect((await get('/health')).headers.get('content-type')).toBe('application/json');
  });

  it('is never cacheable', async () => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    const paths = ['/route', '/route?model=x', '/registry', '/replicas', '/health', '/livez', '/readyz', '/nope'];
    const responses = await Promise.all(paths.map((path) => get(path)));
    expect(responses.map(({ status }) => status)).toEqual([200, 404, 200, 200, 200, 200, 200, 404]);
    expect(responses.map(({ headers }) => headers.get('cache-control'))).toEqual(paths.map(() => 'no-store'));
    socket.destroy();
  });

  it('to HEAD is the response to GET without the body', async () => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    for (const path of ['/replicas', '/replicas?x=y']) {
      const { status, body, headers } = await get(path, { method: 'HEAD' });
      expect([status, body, Number(headers.get('content-length')) > 100]).toEqual([200, '', true]);
    }
    // Byte by byte, except for responses with an age.
    const paths = ['/route', '/route?model=x', '/registry', '/health', '/livez', '/readyz', '/nope'];
    for (const path of paths) {
      const asked = `${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
      const [got, headed] = ['GET', 'HEAD'].map((method) => openRawConnection(server.port, `${method} ${asked}`));
      await until('both have a response', () => !!got?.socket.readableEnded && !!headed?.socket.readableEnded);
      const [head, body] = removeDate(got?.received()).split('\r\n\r\n');
      expect([path, removeDate(headed?.received())]).toEqual([path, `${head}\r\n\r\n`]);
      expect(body).not.toBe('');
    }
    socket.destroy();
  });

  it('to HEAD keeps the connection usable for the next request', async () => {
    const asked = ['HEAD /registry', 'HEAD /route', 'HEAD /register', 'GET /health'];
    const { received } = openRawConnection(
      server.port,
      asked.map((line) => `${line} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''),
    );
    await until('the last has a response', () => received().includes('healthy'));
    expect(received().match(/HTTP\/1.1 \d+/g)).toEqual([
      'HTTP/1.1 200',
      'HTTP/1.1 404',
      'HTTP/1.1 405',
      'HTTP/1.1 200',
    ]);
  });

  it('announces a keep-alive timeout longer than that of any load balancer', async () => {
    expect((await get('/health')).headers.get('keep-alive')).toBe('timeout=75');
  });

  it('has the exact bytes for a route and the list', async () => {
    const body =
      '{"replica_id":"r1","endpoint":"localhost:50051","capabilities":[{"model":"qwen2"},{"model":"llama","type":"chat"}]}';
    const { socket } = await startRegistrant(body);
    expect((await get('/route?model=llama&type=chat')).body).toBe('{"endpoint":"localhost:50051","replica_id":"r1"}');
    expect((await get('/route')).body).toBe('{"endpoint":"localhost:50051","replica_id":"r1"}');
    expect((await get('/registry')).body).toBe(`{"replicas":[${body}]}`);
    socket.destroy();
  });

  it('reports an internal error without details, which are in the log', async () => {
    const throwError = (): never => {
      throw new Error('broken');
    };
    Object.assign(server.registry, { route: throwError, pages: throwError, findRenewalRefusal: throwError });
    const asked = [
      ['GET', '/route?a=b'],
      ['GET', '/registry'],
      ['PUT', '/leases/l1'],
    ] as const;
    for (const [method, path] of asked) {
      expect(await get(path, { method })).toMatchObject({ status: 500, body: '{"detail":"Internal Server Error"}' });
    }
    expect(server.log.lines).toEqual(
      asked.map(([method, path]) => `${method} ${path.replace('l1', '...')} failed: broken`),
    );
    const { received } = openRawConnection(server.port, 'GET /route HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3));
    await until('all three have a response', () => received().split('"detail"').length === 4);
  });

  it.each([
    ['/nope', 'GET', 404, '{"detail":"Not Found"}', null],
    ['/Route', 'GET', 404, '{"detail":"Not Found"}', null],
    ['/', 'GET', 404, '{"detail":"Not Found"}', null],
    ['/route', 'POST', 405, '{"detail":"Method Not Allowed"}', 'GET'],
    ['/register', 'GET', 405, '{"detail":"Method Not Allowed"}', 'POST'],
    ['/register', 'HEAD', 405, '', 'POST'],
    ['/leases/x', 'HEAD', 405, '', 'PUT, DELETE'],
    ['/registry', 'OPTIONS', 405, '{"detail":"Method Not Allowed"}', 'GET'],
  ])('to %s with %s is %i', async (path, method, status, body, allow) => {
    const response = await get(path, { method });
    expect(response).toMatchObject({ status, body });
    expect(response.headers.get('allow')).toBe(allow);
  });

  it('redirects a path with trailing slashes to the path without', async () => {
    const response = await get('/route/?a=%zz');
    expect(response.status).toBe(307);
    expect(response.headers.get('location')).toBe('/route?a=%zz');
    expect((await get('/registry//', { method: 'HEAD' })).headers.get('location')).toBe('/registry');
  });

  it('excludes ids in raw UTF-8, and ignores an id that is too long', async () => {
    await startRegistrant(formatRegistrationBody('é'));
    await startRegistrant(formatRegistrationBody('r2'));
    const raw = Buffer.from('é').toString('latin1');
    for (let n = 0; n < 20; n++) {
      const { body } = await get('/route', { headers: { 'X-Anyserve-Exclude': `${raw},${'a'.repeat(200)}` } });
      expect(JSON.parse(body).replica_id).toBe('r2');
    }
  });

  it('is the same for a request target in absolute form, as proxies receive it', async () => {
    await startRegistrant(formatRegistrationBody('r1'));
    for (const [target, start] of [
      [`http://x/route?type=chat`, '200 OK'],
      [`HTTP://x:1/registry`, '200 OK'],
      [`http://x/leases/none`, '405 Method Not Allowed'],
      [`http://x?type=chat`, '404 Not Found'],
      [`http://x`, '404 Not Found'],
      [`http://x/route/?a`, '307 Temporary Redirect'],
    ] as const) {
      const { received } = openRawConnection(server.port, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until('the response arrives', () => received().includes('\r\n\r\n'));
      expect([target, received().split('\r\n')[0]]).toEqual([target, `HTTP/1.1 ${start}`]);
      if (start.startsWith('307')) expect(received()).toContain('location: /route?a\r\n');
    }
  });

  it('refuses an unsupported Expect header, but handles the next request on the connection', async () => {
    const asking = 'GET /health HTTP/1.1\r\nHost: x\r\n';
    const { received } = openRawConnection(
      server.port,
      `${asking}Expect: miracles\r\n\r\n${asking}\r\n${formatRegisterRequest(formatRegistrationBody('r1'))}`,
    );
    await until('the last response arrives', () => received().includes('alive'));
    expect(received().replaceAll(/Date: [^\r]+/g, 'Date: now')).toMatch(
      /^HTTP\/1.1 417 Expectation Failed\r\nx-anyserve-registry: [\w-]+\r\nDate: now\r\nConnection: keep-alive\r\nKeep-Alive: timeout=75\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP\/1.1 200 OK\r\n/,
    );
  });

  it('asks for the body of a registration that it accepts, and not for one at an unknown path', async () => {
    const body = formatRegistrationBody('r1');
    const formatHead = (path: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`;
    const { socket, received } = openRawConnection(server.port, formatHead('/register'));
    await until('it is asked for the body', () => received() === 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(body);
    await until('it is registered', () => received().includes('"alive"'));
    const refused = openRawConnection(server.port, formatHead('/unknown'));
    await until('the connection is closed', () => refused.socket.readableEnded);
    expect(refused.received()).toMatch(/^HTTP\/1\.1 404 Not Found\r\n.*connection: close\r\n/is);
    socket.destroy();
  });

  it.each(['gzip, chunked', 'identity, chunked'])('refuses a body with the transfer codings %s', async (codings) => {
    const body = formatRegistrationBody('r1');
    const head = `POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ${codings}\r\n\r\n`;
    const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const { socket, received } = openRawConnection(server.port, head + chunks);
    await until('the connection is closed', () => socket.readableEnded);
    expect(received()).toMatch(/^HTTP\/1\.1 501 Not Implemented\r\n.*connection: close\r\n/is);
    expect(received()).toContain(
      `{"detail":"the transfer coding \\"${codings}\\" is not supported; send Transfer-Encoding: chunked, or Content-Length"}`,
    );
    expect(server.log.lines).toEqual([]);
  });

  it('refuses a request target in raw UTF-8 with a hint, and the server keeps running', async () => {
    const target = Buffer.from('/route?städte=köln').toString('latin1');
    const { received } = openRawConnection(server.port, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('the response arrives', () => received().includes('percent-encode them as %XX'));
    expect(received()).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    const { socket } = await startRegistrant(formatRegistrationBody('r1', [{ städte: 'köln' }]));
    expect((await get(`/route?${encodeURI('städte=köln')}`)).status).toBe(200);
    socket.destroy();
  });

  it('is 404 for a path that cannot be decoded', async () => {
    const response = await fetch(`${server.url}/leases/%zz`, { method: 'PUT' });
    expect([response.status, await response.text()]).toEqual([404, '{"detail":"Not Found"}']);
    expect(server.log.lines).toEqual([]);
  });

  it('refuses input that is not HTTP', async () => {
    const { received } = openRawConnection(server.port, 'hello\r\n\r\n');
    await until('the response arrives', () => received().includes('{"detail":"Invalid HTTP request received."}'));
    const long = openRawConnection(server.port, `GET /route?a=${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('the response arrives', () => long.received().includes('HTTP/1.1 431 '));
    expect((await get('/health')).status).toBe(200);
  });

  it('omits the replicas that the client excludes, at most 16', async () => {
    await startRegistrant(formatRegistrationBody('r1'));
    await startRegistrant(formatRegistrationBody('r2'));
    for (let n = 0; n < 20; n++) {
      const { body } = await get('/route', { headers: { 'X-Anyserve-Exclude': 'r1' } });
      expect(JSON.parse(body).replica_id).toBe('r2');
    }
    expect((await get('/route', { headers: { 'X-Anyserve-Exclude': 'r1,r2' } })).status).toBe(200);
    const many = Array.from({ length: 17 }, (_, n) => `x${n}`).join();
    expect(await get('/route', { headers: { 'X-Anyserve-Exclude': many } })).toMatchObject({
      status: 400,
      body: '{"detail":"x-anyserve-exclude names more than 16 replicas; give at most 16"}',
    });
  });
});

describe('a registration', () => {
  it('opens an event stream with the exact bytes', async () => {
    const { received, socket } = await startRegistrant(formatRegistrationBody('é'));
    const [head, ...chunks] = received().split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(head?.toLowerCase().split('\r\n')).toEqual(
      expect.arrayContaining(['content-type: text/event-stream', 'cache-control: no-cache']),
    );
    const events = chunks.join('\r\n\r\n').replace(/^[0-9a-f]+\r\n|\r\n[0-9a-f]+\r\n|\r\n$/g, '');
    expect(events).toBe('data: {"status": "registered", "replica_id": "\\u00e9"}\n\ndata: {"status": "alive"}\n\n');
    socket.destroy();
  });

  it('ends when the connection closes', async () => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    socket.destroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it('ends when the connection is reset', async () => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    socket.resetAndDestroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it('ends when the peer half-closes the connection', async () => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    socket.end();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
    await until('the server has also closed its side', () => socket.readableEnded || socket.destroyed, 1000);
  });

  it.each([
    ['a second request', 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'],
    [
      'a second request with a large body',
      `POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n${'x'.repeat(2_000_000)}`,
    ],
    ['a thousand requests', 'GET /registry HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000)],
    ['garbage', '\u0000\u0001garbage\r\n\r\n'],
  ])('ends after %s on its stream', async (_what, noise) => {
    const { socket } = await startRegistrant(formatRegistrationBody('r1'));
    await new Promise<void>((resolve) => socket.write(noise, 'latin1', () => resolve()));
    expect((await get('/route')).status).toBe(200);
    socket.destroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it.each([
    ['a second request', 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a thousand requests', 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000)],
    [
      'a thousand requests with an invalid Expect header',
      'GET /health HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n'.repeat(1000),
    ],
  ])('ends when %s came in the same packet', async (_what, behind) => {
    const { socket } = openRawConnection(
      server.port,
      `${formatRegisterRequest(formatRegistrationBody('r1'))}${behind}`,
    );
    await until('r1 is listed', () => waitUntilRegistered().includes('r1'));
    socket.destroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it.each([
    ['', ''],
    [' with keep-alive', 'Connection: keep-alive\r\n'],
  ])('works with HTTP/1.0%s', async (_what, header) => {
    const asking = formatRegisterRequest(formatRegistrationBody('r1'), { version: '1.0' });
    const { socket, received } = openRawConnection(server.port, asking.replace('\r\n', `\r\n${header}`));
    await until('the first heartbeat', () => received().includes('alive'));
    // If the server took the connection for finished, it would close it within milliseconds.
    for (let n = 0; n < 5; n++) expect((await get('/route')).status).toBe(200);
    expect(received()).toContain(
      '\r\n\r\ndata: {"status": "registered", "replica_id": "r1"}\n\ndata: {"status": "alive"}\n\n',
    );
    expect(waitUntilRegistered()).toEqual(['r1']);
    socket.destroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it('supersedes an older one of the same id, which gets an event and is closed', async () => {
    const older = await startRegistrant(formatRegistrationBody('r1', [{ model: 'old' }]));
    const newer = await startRegistrant(formatRegistrationBody('r1', [{ model: 'new' }]));
    await until('the older stream has ended', () => older.socket.readableEnded);
    expect(older.received()).toContain('data: {"status": "superseded", "replica_id": "r1"}\n\n');
    older.socket.destroy();
    expect((await get('/route?model=new')).status).toBe(200);
    newer.socket.destroy();
    await until('r1 is removed', () => waitUntilRegistered().length === 0, 1000);
  });

  it('sends a heartbeat at every interval', async () => {
    await server.close();
    server = await startTestApiServer({ heartbeatMs: 20 });
    const { received, socket } = await startRegistrant(formatRegistrationBody('r1'));
    await until('five heartbeats', () => received().split('"alive"').length > 5);
    socket.destroy();
  });

  it.each([
    [
      '100,000 nested arrays',
      `{"replica_id":"a","endpoint":"e","capabilities":${'['.repeat(100_000)}`,
      422,
      'json_invalid',
    ],
    ['a lone surrogate', '{"replica_id":"a\\ud800","endpoint":"e","capabilities":[]}', 422, 'Lone surrogate'],
    ['1e999', '{"replica_id":"a","endpoint":"e","capabilities":[{"a":1e999}]}', 422, 'Number out of range'],
    [
      'more than 1 MiB',
      JSON.stringify({ replica_id: 'a', endpoint: 'e', capabilities: [{ a: 'x'.repeat(1_050_000) }] }),
      413,
      'more than 1048576 bytes',
    ],
    ['invalid UTF-8', Buffer.from([0x7b, 0xff]).toString('latin1'), 400, 'error parsing the body'],
  ])('is refused for %s, and the server keeps running', async (_what, body, status, words) => {
    const request = `POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const { received, socket } = openRawConnection(server.port, request);
    await until('the response arrives', () => received().includes(words));
    expect(received()).toContain(`HTTP/1.1 ${status} `);
    socket.destroy();
    expect(await get('/registry')).toMatchObject({ status: 200, body: '{"replicas":[]}' });
  });

  it('is refused when its content type is not JSON', async () => {
    const body = formatRegistrationBody('r1');
    const response = await get('/register', { method: 'POST', body, headers: { 'content-type': 'text/plain' } });
    expect(response.status).toBe(422);
    expect(JSON.parse(response.body).detail[0]).toMatchObject({ type: 'model_attributes_type', input: body });
  });

  it('with an empty body is refused as missing, with any content type', async () => {
    const response = await get('/register', { method: 'POST', headers: { 'content-type': 'text/plain' } });
    expect(response.body).toBe('{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}');
  });

  it('leaves nothing in the registry if its client disconnects before the body is complete', async () => {
    const { socket } = openRawConnection(
      server.port,
      'POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"repl',
    );
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.destroy();
    expect((await get('/registry')).body).toBe('{"replicas":[]}');
  });

  it('can come and go a thousand times without leaving a stale replica or losing another one', async () => {
    const staying = await Promise.all(
      Array.from({ length: 10 }, (_, n) => startRegistrant(formatRegistrationBody(`stays${n}`))),
    );
    const registerAndLeave = async (id: string): Promise<void> => {
      for (let n = 0; n < 100; n++) {
        const { socket } = await startRegistrant(formatRegistrationBody(id));
        if (n % 3 === 0) socket.destroy();
        else if (n % 3 === 1) socket.end();
        else socket.resetAndDestroy();
        await until(`${id} is gone`, () => !waitUntilRegistered().includes(id), 2000);
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, n) => registerAndLeave(`goes${n}`)));
    expect(new Set(waitUntilRegistered())).toEqual(new Set(Array.from({ length: 10 }, (_, n) => `stays${n}`)));
    for (const { socket } of staying) socket.destroy();
    await until('all are gone', () => waitUntilRegistered().length === 0);
  });

  it('works for 200 replicas at once, and leaves no stale replica when all disconnect at once', async () => {
    const all = await Promise.all(
      Array.from({ length: 200 }, (_, n) => startRegistrant(formatRegistrationBody(`r${n}`))),
    );
    expect(new Set(waitUntilRegistered()).size).toBe(200);
    for (const { socket } of all) socket.destroy();
    await until('all are gone', () => waitUntilRegistered().length === 0);
  });
});

describe('a lease', () => {
  it('survives the request timeout of a second request that began in the same packet', async () => {
    const impatient = await startTestApiServer({ heartbeatMs: 50, requestTimeoutMs: 500 });
    const { port, registry } = impatient;
    const begun = 'GET /health HTTP/1.1\r\nHost:';
    const { socket, received } = openRawConnection(
      port,
      `${formatRegisterRequest(formatRegistrationBody('r1'))}${begun}`,
    );
    await until('the first heartbeat', () => received().includes('alive'));
    // A request that began later. When it times out, the second request has timed out, too.
    const later = openRawConnection(port, begun);
    await until('its timeout', () => later.received().includes('408 Request Timeout'));
    const countBeats = (): number => received().split('alive').length;
    const beatsSoFar = countBeats();
    await until('more heartbeats', () => countBeats() > beatsSoFar + 2);
    expect(registry.replicas()).toHaveLength(1);
    socket.destroy();
    await until('r1 is removed', () => registry.replicas().length === 0, 1000);
    await impatient.close();
  });
});

describe('the server', () => {
  it('closes while streams are open, and sends them no wrong event', async () => {
    const { socket, received } = await startRegistrant(formatRegistrationBody('r1'));
    await server.close();
    await until('the stream has ended', () => socket.readableEnded);
    expect(received()).not.toContain('superseded');
    server = await startTestApiServer();
  });

  it('explains what to do if the port is in use', async () => {
    await expect(startTestApiServer({ port: server.port })).rejects.toThrow(
      `127.0.0.1:${server.port} is already in use: stop the other process, or choose another port with --port (0 picks a free one)`,
    );
  });
});

describe('a two-way lease', () => {
  const formatBody = (ttl: number): string =>
    JSON.stringify({ replica_id: 'r1', endpoint: 'h:1', capabilities: [{ type: 'chat' }], ttl });
  const parseLease = (text: string): string => /^x-anyserve-lease: (\S+)\r$/im.exec(text)?.[1] ?? '';
  const toLeaseUrl = (lease: string): string => `${server.url}/leases/${lease}`;

  async function registerTwoWay(
    ttl = 9,
  ): Promise<{ connection: Awaited<ReturnType<typeof startRegistrant>>; lease: string }> {
    const connection = await startRegistrant(formatBody(ttl));
    return { connection, lease: parseLease(connection.received()) };
  }

  it('is named in the response, unlike a one-way lease', async () => {
    expect((await registerTwoWay()).lease).toMatch(/^[0-9a-f-]{36}$/);
    expect((await startRegistrant(formatRegistrationBody('r2'))).received()).not.toMatch(/x-anyserve-lease/i);
  });

  it('can be renewed, with or without a state, and released', async () => {
    const { connection, lease } = await registerTwoWay();
    expect((await fetch(toLeaseUrl(lease), { method: 'PUT' })).status).toBe(200);
    const unready = await fetch(toLeaseUrl(lease), { method: 'PUT', body: '{"state":"unready"}' });
    expect([unready.status, await unready.text()]).toEqual([200, '{"status":"renewed"}']);
    expect((await fetch(`${server.url}/route`)).status).toBe(404);
    expect(await (await fetch(`${server.url}/registry`)).text()).toBe('{"replicas":[]}');
    expect(await (await fetch(`${server.url}/replicas`)).text()).toContain('"state":"unready"');
    expect((await fetch(toLeaseUrl(lease), { method: 'DELETE' })).status).toBe(200);
    expect(await (await fetch(`${server.url}/replicas`)).text()).toContain('"replicas":[]');
    await until('the stream is closed', () => connection.socket.closed || connection.socket.readableEnded);
    for (const method of ['PUT', 'DELETE']) {
      const gone = await fetch(toLeaseUrl(lease), { method });
      expect([gone.status, ((await gone.json()) as { detail: string }).detail]).toEqual([
        404,
        'unknown lease: it has ended, or another API server granted it',
      ]);
    }
    expect(server.log.lines.at(-1)).toContain('removed "r1": released');
  });

  it('is found with any encoding of its name, and at no other path', async () => {
    const { lease } = await registerTwoWay();
    const escaped = lease.replace(/./, (first) => `%${first.charCodeAt(0).toString(16)}`);
    expect((await fetch(`${toLeaseUrl(escaped)}?at=a/b`, { method: 'PUT' })).status).toBe(200);
    for (const path of [`${lease}/`, `${lease}/a`, `a/${lease}`, '']) {
      const response = await fetch(toLeaseUrl(path), { method: 'PUT' });
      expect([path, response.status, await response.text()]).toEqual([path, 404, '{"detail":"Not Found"}']);
    }
    const asked = await fetch(toLeaseUrl(lease));
    expect([asked.status, asked.headers.get('allow')]).toEqual([405, 'PUT, DELETE']);
  });

  it('cannot be renewed once a newer registration of the id has superseded it', async () => {
    const { lease } = await registerTwoWay();
    await registerTwoWay();
    const late = await fetch(toLeaseUrl(lease), { method: 'PUT' });
    expect(late.status).toBe(409);
    expect(waitUntilRegistered()).toEqual(['r1']);
  });

  it('gets a response before the body arrives if it is unknown or superseded', async () => {
    const { lease } = await registerTwoWay();
    await registerTwoWay();
    for (const [id, status] of [
      ['none', 404],
      [lease, 409],
    ]) {
      const head = `PUT /leases/${id} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n`;
      const { socket, received } = openRawConnection(server.port, head);
      await until('there is a response', () => received().includes('\r\n\r\n'));
      expect(received()).toContain(`HTTP/1.1 ${status} `);
      // The connection goes on after the rest of the body, which is invalid JSON.
      socket.write(`${'['.repeat(1_000_000)}GET /livez HTTP/1.1\r\nHost: x\r\n\r\n`);
      await until('the next request is handled', () => received().includes('{"status":"alive"}'));
      socket.destroy();
    }
  });

  it('expires although its connection is open, and the connection is closed', async () => {
    const { connection } = await registerTwoWay(1);
    await until('it has expired', () => waitUntilRegistered().length === 0);
    expect(server.log.lines.at(-1)).toContain('removed "r1": expired');
    await until('the stream is closed', () => connection.socket.readableEnded);
  });

  it('ends with its connection', async () => {
    const { connection } = await registerTwoWay(3600);
    connection.socket.destroy();
    await until('it is gone', () => waitUntilRegistered().length === 0);
    expect(server.log.lines.at(-1)).toContain('removed "r1": closed');
  });

  it('refuses an invalid renewal in the same form as an invalid registration', async () => {
    const { lease } = await registerTwoWay();
    const requestLease = async (init: RequestInit) => {
      const response = await fetch(toLeaseUrl(lease), init);
      return [response.status, await response.text()];
    };
    expect(await requestLease({ method: 'PUT', body: '{"state":"dead"}' })).toEqual([
      422,
      `{"detail":[{"type":"literal_error","loc":["body","state"],"msg":"Input should be 'ready', 'unready' or 'draining'","input":"dead","ctx":{"expected":"'ready', 'unready' or 'draining'"}}]}`,
    ]);
    expect((await requestLease({ method: 'PUT', body: 'x'.repeat(1_050_000) }))[0]).toBe(413);
    expect(await requestLease({ method: 'PUT', body: '{"state":"unready","capabilities":[1,{}]}' })).toEqual([
      422,
      '{"detail":[{"type":"dict_type","loc":["body","capabilities",0],"msg":"Input should be a valid dictionary","input":1}]}',
    ]);
    expect((await fetch(`${server.url}/route`)).status).toBe(200);
    const wrong = await fetch(toLeaseUrl(lease), { method: 'POST' });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'PUT, DELETE']);
  });

  it('can change its capabilities without losing its place in the lists, at most once per second', async () => {
    const { lease } = await registerTwoWay();
    await startRegistrant(formatRegistrationBody('r2'));
    const put = (body: unknown) => fetch(toLeaseUrl(lease), { method: 'PUT', body: JSON.stringify(body) });
    const listCapabilities = async (path: string) => {
      const { replicas } = (await (await fetch(server.url + path)).json()) as { replicas: object[] };
      return replicas;
    };
    expect(await listCapabilities('/registry')).toMatchObject([
      { replica_id: 'r1', capabilities: [{ type: 'chat' }] },
      {},
    ]);
    const response = await put({ capabilities: [{ model: 'a' }, { model: ['b', 'c'] }] });
    expect([response.status, await response.text()]).toEqual([200, '{"status":"renewed"}']);
    expect((await fetch(`${server.url}/route?model=a`)).status).toBe(200);
    const other = { replica_id: 'r2', capabilities: [{ type: 'chat' }] };
    for (const path of ['/registry', '/replicas']) {
      const expected = { replica_id: 'r1', capabilities: [{ model: 'a' }, { model: ['b', 'c'] }] };
      expect(await listCapabilities(path)).toMatchObject([expected, other]);
    }
    expect(server.log.lines).toContain(
      '"r1" offers {"model":["b","c"]}: a list as a value never matches a query; register one capability object for each value of the list',
    );
    const tooSoon = await put({ capabilities: [{ model: 'd' }], state: 'unready' });
    expect([tooSoon.status, tooSoon.headers.get('retry-after'), await tooSoon.text()]).toEqual([
      429,
      '1',
      '{"detail":"a lease can change its capabilities at most once per second"}',
    ]);
    expect((await fetch(`${server.url}/route?model=a`)).status).toBe(200);
    expect((await put({ state: 'unready' })).status).toBe(200);
    expect((await fetch(`${server.url}/route?model=a`)).status).toBe(404);
  });

  it('starts in the state that the registration declares', async () => {
    await startRegistrant(JSON.stringify({ ...JSON.parse(formatBody(9)), state: 'draining' }));
    expect((await fetch(`${server.url}/route`)).status).toBe(404);
    expect(await (await fetch(`${server.url}/replicas`)).text()).toContain('"state":"draining"');
    await startRegistrant(JSON.stringify({ ...JSON.parse(formatBody(9)), state: null }));
    expect((await fetch(`${server.url}/route`)).status).toBe(200);
    const refused = await fetch(`${server.url}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...JSON.parse(formatBody(9)), state: 'dead', ttl: 0 }),
    });
    expect([refused.status, ((await refused.json()) as { detail: object[] }).detail]).toMatchObject([
      422,
      [
        { type: 'value_error', loc: ['body', 'ttl'], input: 0 },
        { type: 'literal_error', loc: ['body', 'state'], input: 'dead' },
      ],
    ]);
  });

  it('is listed in /replicas without its secret name', async () => {
    const { lease } = await registerTwoWay();
    await startRegistrant(formatRegistrationBody('r2'));
    const text = await (await fetch(`${server.url}/replicas`)).text();
    expect(text).not.toContain(lease);
    const { now, replicas } = JSON.parse(text) as { now: number; replicas: Record<string, unknown>[] };
    expect(replicas).toMatchObject([
      {
        replica_id: 'r1',
        capabilities: [{ type: 'chat' }],
        state: 'ready',
        lease: lease.slice(0, 8),
        peer: '127.0.0.1',
        ttl: 9,
      },
      { replica_id: 'r2', state: 'ready', ttl: null },
    ]);
    for (const { since, last_seen } of replicas as { since: number; last_seen: number }[]) {
      expect(now - since).toBeGreaterThanOrEqual(0);
      expect(now - last_seen).toBeLessThan(5);
    }
  });
});
