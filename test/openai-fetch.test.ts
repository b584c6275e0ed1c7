import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { createFetch } from '../src/openai.js';
import { closeAfterEach } from './support/close-after-each.js';
import { type HttpEngine, type ReceivedRequest, readError, sendJson, startHttpEngine } from './support/http-engine.js';
import { BASE_URL, startTestFetch } from './support/model-fetch.js';
import { until } from './support/until.js';

const keep = closeAfterEach();

const startFetch = async (...args: Parameters<typeof startTestFetch>) => keep(await startTestFetch(...args));

const startEngine = async (...args: Parameters<typeof startHttpEngine>) => keep(await startHttpEngine(...args));

/** Starts an engine that responds with its name. */
const startNamedEngine = (name: string) => startEngine((_request, response) => sendJson(response, { engine: name }));

const CHAT = '/chat/completions';

const JSON_BODY = '{"model":"m"}';

describe('a request', () => {
  it('passes its bytes, its query string and the listed headers, and no credential', async () => {
    const { fetch, register } = await startFetch({ passHeaders: ['X-Mine'] });
    const engine = await startNamedEngine('a');
    await register('a', engine.url);
    const body = '{ "messages":[{"role":"user","content":"\\u00e4 ☃"}],\n "model" : "m", "unknown": 1.0 }';
    const response = await fetch(`${BASE_URL}${CHAT}?api-version=2`, {
      method: 'POST',
      body,
      headers: new Headers({
        authorization: 'Bearer secret',
        cookie: 'a=b',
        'api-key': 'secret',
        'x-api-key': 'secret',
        'openai-organization': 'org',
        'openai-project': 'project',
        'content-type': 'application/json',
        'x-mine': '1',
        'x-request-id': 'id1',
        traceparent: '00-1-2-01',
        'x-stainless-lang': 'js',
      }),
    });
    expect(await response.json()).toEqual({ engine: 'a' });
    const received = engine.requests.at(-1) as ReceivedRequest;
    expect([received.method, received.url, received.body]).toEqual(['POST', `/v1${CHAT}?api-version=2`, body]);
    expect(received.headers).toEqual({
      host: new URL(engine.origin).host,
      'accept-encoding': 'identity',
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'x-mine': '1',
      'x-request-id': 'id1',
      traceparent: '00-1-2-01',
      'x-stainless-lang': 'js',
    });
  });

  const form = (): FormData => {
    const fields = new FormData();
    fields.append('file', new Blob(['sound']), 'a.wav');
    fields.append('model', 'm');
    return fields;
  };

  it.each([
    ['a string', () => ({ body: JSON_BODY })],
    ['bytes', () => ({ body: Buffer.from(JSON_BODY) })],
    ['a buffer', () => ({ body: new Uint8Array(Buffer.from(JSON_BODY)).buffer })],
    ['a Blob', () => ({ body: new Blob([JSON_BODY]) })],
    ['a stream', () => ({ body: new Blob([JSON_BODY]).stream(), duplex: 'half' })],
    ['a form', () => ({ body: form() })],
    ['a string with a list of headers', () => ({ body: JSON_BODY, headers: [['content-type', 'application/json']] })],
    ['a string with plain headers', () => ({ body: JSON_BODY, headers: { 'Content-Type': 'application/json' } })],
  ])('can have %s as its body', async (_what, createInit) => {
    const { fetch, register } = await startFetch();
    const engine = await startNamedEngine('a');
    await register('a', engine.url);
    const init = { method: 'POST', ...createInit() } as RequestInit;
    expect((await fetch(`${BASE_URL}/x`, init)).status).toBe(200);
    expect((await fetch(new URL(`${BASE_URL}/x`), { method: 'POST', ...createInit() } as RequestInit)).status).toBe(
      200,
    );
    const request = new Request(`${BASE_URL}/x`, { method: 'POST', ...createInit() } as RequestInit);
    expect((await fetch(request)).status).toBe(200);
    expect(engine.requests.map(({ url }) => url)).toEqual(['/v1/x', '/v1/x', '/v1/x']);
    expect(engine.requests[0]?.body).toContain(init.body instanceof FormData ? 'name="model"\r\n\r\nm\r\n' : JSON_BODY);
    expect(engine.requests[0]?.headers['content-type'] ?? '').toMatch(
      init.body instanceof FormData ? /^multipart\/form-data; boundary=/ : /^(application\/json|text\/plain.*|)$/,
    );
  });

  it.each([
    [{ method: 'GET' }, /^GET "\/responses\/1" names no model in its body/],
    [{ method: 'POST', body: '{"model":' }, /^the body can't be read: /],
    [{ method: 'POST', body: '{"messages":[]}' }, /^the body has no "model"$/],
    [{ method: 'POST', body: '[]' }, /^the body has no "model"$/],
    [{ method: 'POST', body: 'null' }, /^the body has no "model"$/],
    [{ method: 'POST', body: '{"model":5}' }, /^the body has no "model"$/],
    [{ method: 'POST', body: new FormData() }, /^the body has no "model"$/],
  ] as const)('without a model, %j, is a 400 that no replica gets', async (init, message) => {
    const { fetch, register } = await startFetch();
    const engine = await startNamedEngine('a');
    await register('a', engine.url);
    const response = await fetch(`${BASE_URL}/responses/1`, init as RequestInit);
    expect([response.status, (await readError(response)).message]).toEqual([400, expect.stringMatching(message)]);
    expect(engine.requests).toEqual([]);
  });

  it.each(['Authorization', 'host', 'a b'])('cannot pass the header %s on', (name) => {
    expect(() => createFetch({ server: 'http://127.0.0.1:1', passHeaders: [name] })).toThrow(
      `option passHeaders: "${name}" is not a header that can be passed on`,
    );
  });

  it.each([{ previous_response_id: 'r1' }, { conversation: 'c1' }])(
    'about something that one engine keeps is refused while several offer the model: %o',
    async (member) => {
      const { post, register } = await startFetch();
      const engine = await startNamedEngine('a');
      const remove = await register('a', engine.url);
      await register('b', engine.url.replace('127.0.0.1', 'localhost'));
      const body = { model: 'm', ...member };
      const refused = await post('/responses', body);
      expect([refused.status, (await readError(refused)).message]).toEqual([400, expect.stringMatching(/one engine/)]);
      await remove();
      await until('one is left', async () => (await post('/responses', body)).status === 200);
    },
  );

  it('goes only to replicas that match the options, and to preferred ones first', async () => {
    const { post, register } = await startFetch({ capability: { zone: 'a' }, where: 'ctx>=10', prefer: 'gpu=h100' });
    const names = ['other-zone', 'small', 'slow', 'fast'];
    const engines = await Promise.all(names.map(startNamedEngine));
    const capabilities = [
      { zone: 'b', ctx: 20, gpu: 'h100' },
      { zone: 'a', ctx: 5, gpu: 'h100' },
      { zone: 'a', ctx: 20 },
      { zone: 'a', ctx: 20, gpu: 'h100' },
    ];
    for (const at of [2, 3])
      await register(names[at] as string, engines[at]?.url ?? '', { model: 'm', ...capabilities[at] });
    for (let call = 0; call < 5; call++)
      expect(await (await post(CHAT, { model: 'm' })).json()).toEqual({ engine: 'fast' });
    engines[3]?.close();
    expect(await (await post(CHAT, { model: 'm' })).json()).toEqual({ engine: 'slow' });
  });
});

describe('a response', () => {
  it('has the status, the headers, the bytes and the URL of the replica, and its id', async () => {
    const { post, register } = await startFetch();
    const engine = await startEngine((_request, response) => {
      response.writeHead(422, 'Not Like This', ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X-Anyserve-Mine', 'no']);
      response.end('{"e"');
    });
    await register('ä', `${engine.url}/`);
    const response = await post(`${CHAT}?a=1`, { model: 'm' });
    expect([response.status, response.statusText, await response.text()]).toEqual([422, 'Not Like This', '{"e"']);
    expect([response.url, response.ok]).toEqual([`${engine.url}${CHAT}?a=1`, false]);
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect([response.headers.get('x-anyserve-replica'), response.headers.get('x-anyserve-mine')]).toEqual([
      '%C3%A4',
      null,
    ]);
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['gzip, BR', (bytes: Buffer) => brotliCompressSync(gzipSync(bytes))],
    ['identity', (bytes: Buffer) => bytes],
    ['unknown', (bytes: Buffer) => bytes],
  ])('with content-encoding %s is decoded, whole and streaming', async (coding, encode) => {
    const { fetch, register } = await startFetch({ passHeaders: ['x-mine'] });
    const encoded = encode(Buffer.from('{"text":"hello ☃"}'));
    const engine = await startEngine(async ({ headers }, response) => {
      response.writeHead(headers['x-mine'] === 'error' ? 400 : 200, { 'content-encoding': coding });
      if (headers['x-mine'] !== 'stream') return response.end(encoded);
      for (const byte of encoded) {
        response.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      return response.end();
    });
    await register('a', engine.url);
    for (const kind of ['whole', 'stream', 'error']) {
      const response = await fetch(`${BASE_URL}${CHAT}`, {
        method: 'POST',
        body: JSON_BODY,
        headers: { 'content-type': 'application/json', 'x-mine': kind },
      });
      expect([kind, await response.json()]).toEqual([kind, { text: 'hello ☃' }]);
    }
  });

  it('whose compressed body breaks off never looks complete', async () => {
    const { fetch, register } = await startFetch();
    const encoded = gzipSync(Buffer.from('{"text":"hello"}'));
    const engine = await startEngine((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(encoded.subarray(0, -9));
    });
    await register('a', engine.url);
    const response = await fetch(`${BASE_URL}${CHAT}`, { method: 'POST', body: JSON_BODY });
    await expect(response.text()).rejects.toThrow();
  });

  it('without a body is one', async () => {
    const { post, register } = await startFetch();
    const engine = await startEngine((_request, response) => response.writeHead(204).end());
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, response.body, await response.text()]).toEqual([204, null, '']);
  });

  it('streams as it arrives', async () => {
    const { post, register } = await startFetch();
    let send = (_text: string): void => {};
    const engine = await startEngine((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      send = (text) => void (text === '' ? response.end() : response.write(text));
      send('data: 1\n\n');
    });
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm', stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const read = async (): Promise<string> => Buffer.from((await reader.read()).value ?? []).toString();
    expect(await read()).toBe('data: 1\n\n');
    for (const text of ['data: 2\n\n', 'data: 3\n\n']) {
      const piece = read();
      send(text);
      expect(await piece).toBe(text);
    }
    send('');
    expect(await reader.read()).toEqual({ done: true, value: undefined });
  });

  it('can be read into the buffer of its reader', async () => {
    const { post, register } = await startFetch();
    const engine = await startEngine((_request, response) => {
      response.write('12345');
      setTimeout(() => response.end(), 10);
    });
    await register('a', engine.url);
    const reader = (await post(CHAT, { model: 'm' })).body?.getReader({ mode: 'byob' });
    const first = await reader?.read(new Uint8Array(3));
    expect(Buffer.from(first?.value ?? []).toString()).toBe('123');
    expect(Buffer.from((await reader?.read(new Uint8Array(3)))?.value ?? []).toString()).toBe('45');
    expect(await reader?.read(new Uint8Array(3))).toMatchObject({ done: true });
  });

  it('that nobody reads is not read from the replica either', async () => {
    const { post, register } = await startFetch();
    const total = 64 * 1024 * 1024;
    let written = 0;
    const engine = await startEngine((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': total });
      const piece = Buffer.alloc(256 * 1024, 1);
      const write = (): void => {
        while (written < total) {
          written += piece.length;
          if (!response.write(piece)) return void response.once('drain', write);
        }
        response.end();
      };
      write();
    });
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm' });
    let before = -1;
    await until('the engine waits', async () => {
      const isWaiting = before === written;
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return isWaiting;
    });
    expect(written).toBeLessThan(total / 2);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect([bytes.length, bytes.every((byte) => byte === 1)]).toEqual([total, true]);
  });

  it('that breaks off never looks complete', async () => {
    const { post, register, fetch } = await startFetch();
    const engine = await startEngine((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      setTimeout(() => response.destroy(), 20);
    });
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm', stream: true });
    await expect(response.text()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('the response is incomplete'),
    });
    expect((await fetch.replicas())[0]?.callsInProgress).toBe(0);
  });

  it('that goes silent ends with an error', async () => {
    const { post, register } = await startFetch({ streamIdleTimeoutMs: 30 });
    const engine = await startEngine((_request, response) => response.write('data: 1\n\n'));
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm', stream: true });
    await expect(response.text()).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('whose reader leaves is cancelled at the replica', async () => {
    const { post, register, fetch } = await startFetch();
    let isClosed = false;
    const engine = await startEngine((_request, response) => {
      response.on('close', () => {
        isClosed = true;
      });
      response.write('data: 1\n\n');
    });
    await register('a', engine.url);
    const response = await post(CHAT, { model: 'm', stream: true });
    expect((await fetch.replicas())[0]?.callsInProgress).toBe(1);
    await response.body?.cancel();
    await until('it is cancelled', () => isClosed);
    expect((await fetch.replicas())[0]?.callsInProgress).toBe(0);
  });
});

describe('a failed request', () => {
  it('goes to another replica, and reports its attempts', async () => {
    const events: string[] = [];
    const { post, register } = await startFetch({
      onAttempt: (event) => event.kind === 'attempt_ended' && events.push(event.code),
      onRetry: ({ attempt, next }) => events.push(`${attempt} -> ${next.replicaId}`),
      tracer: { startAttempt: () => ({ headers: { traceparent: 'mine' }, end() {} }) },
    });
    const bad = await startEngine((_request, response) => sendJson(response, {}, 503));
    const good = await startNamedEngine('good');
    await register('bad', bad.url);
    await register('good', good.url);
    for (let call = 0; call < 2; call++)
      expect(await (await post(CHAT, { model: 'm' })).json()).toEqual({ engine: 'good' });
    expect(bad.requests.length).toBe(1);
    expect([...events].sort()).toEqual(['1 -> good', 'ok', 'ok', 'unavailable']);
    expect(good.requests[0]?.headers.traceparent).toBe('mine');
  });

  it('that fails everywhere gets the last response, and a header that asks clients not to repeat it', async () => {
    const { post, register } = await startFetch();
    for (const id of ['a', 'b']) {
      const engine = await startEngine((_request, response) =>
        sendJson(response, { from: id }, 500, { 'x-mine': '1' }),
      );
      await register(id, engine.url);
    }
    const response = await post(CHAT, { model: 'm' });
    const { headers } = response;
    expect([response.status, headers.get('x-mine'), headers.get('x-should-retry')]).toEqual([500, '1', 'false']);
    expect(((await response.json()) as { from: string }).from).toMatch(/^[ab]$/);
  });

  it('for an unknown model is a 404 with similar names', async () => {
    const { post, register } = await startFetch();
    await register('b', '127.0.0.1:1', { model: 'qwen1' });
    await register('a', 'http://127.0.0.1:1/v1', { model: 'qwen2' });
    const response = await post(CHAT, { model: 'qwen3' });
    expect([response.status, await readError(response)]).toEqual([
      404,
      {
        message: 'no replica offers the model "qwen3"; did you mean "qwen2"?',
        type: 'invalid_request_error',
        code: 'model_not_found',
        param: 'model',
      },
    ]);
  });

  it('is a 503 with Retry-After while no API server responds', async () => {
    const { fetch, post, server } = await startFetch();
    await server.close();
    for (const response of [await post(CHAT, { model: 'm' }), await fetch(`${BASE_URL}/models`)]) {
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
      expect((await readError(response)).code).toBe('server_unreachable');
    }
  });

  it('after the close is not sent, and a body in progress ends with an error', async () => {
    const { fetch, post, register } = await startFetch();
    const engine = await startEngine((_request, response) => response.write('data: 1\n\n'));
    await register('a', engine.url);
    const open = await post(CHAT, { model: 'm' });
    await fetch.close();
    await expect(open.text()).rejects.toMatchObject({ code: 'cancelled' });
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, (await readError(response)).message]).toEqual([502, 'the client is closed']);
    expect(engine.requests.length).toBe(1);
  });
});

describe('an aborted request', () => {
  const reason = new Error('my reason');

  it.each([
    ['before it is sent', 0],
    ['before the response', 1],
  ])('rejects with the reason, %s', async (_when, requests) => {
    const { post, register, fetch } = await startFetch();
    let isClosed = false;
    const engine = await startEngine((_request, response) =>
      response.on('close', () => {
        isClosed = true;
      }),
    );
    await register('a', engine.url);
    const abort = new AbortController();
    if (requests === 0) abort.abort(reason);
    const call = post(CHAT, { model: 'm' }, { signal: abort.signal });
    call.catch(() => {});
    await until('the engine has it', () => engine.requests.length === requests);
    abort.abort(reason);
    await expect(call).rejects.toBe(reason);
    await until('it is cancelled', () => isClosed || requests === 0);
    expect((await fetch.replicas())[0]).toMatchObject({ callsInProgress: 0, ejectedForMs: 0 });
  });

  it('rejects while the list of replicas is awaited', async () => {
    // It accepts connections, and never responds.
    const silent = keep(createTcpServer());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const server = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const { fetch, post } = await startFetch({ server });
    const started = performance.now();
    for (const call of [
      (signal: AbortSignal) => post(CHAT, { model: 'm' }, { signal }),
      (signal: AbortSignal) => fetch(`${BASE_URL}/models`, { signal }),
    ])
      await expect(call(AbortSignal.timeout(50))).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('ends the body with the reason, also of a Request', async () => {
    const { fetch, register } = await startFetch();
    const engine = await startEngine((_request, response) => response.write('data: 1\n\n'));
    await register('a', engine.url);
    const abort = new AbortController();
    const body = '{"model":"m"}';
    const response = await fetch(new Request(`${BASE_URL}${CHAT}`, { method: 'POST', body, signal: abort.signal }));
    const text = response.text();
    abort.abort();
    await expect(text).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('the list of models', () => {
  it('has those of replicas with an HTTP API that match', async () => {
    const { fetch, register } = await startFetch({ where: 'zone=a' });
    await register(
      'a',
      'http://127.0.0.1:1/v1',
      { model: 'org/b', zone: 'a' },
      { model: 'a', zone: 'a' },
      { model: 'x' },
    );
    const get = async (path: string): Promise<unknown> => (await fetch(`${BASE_URL}${path}`)).json();
    const entry = { object: 'model', created: expect.any(Number), owned_by: 'anyserve' };
    expect(await get('/models')).toEqual({
      object: 'list',
      data: [
        { id: 'a', ...entry },
        { id: 'org/b', ...entry },
      ],
    });
    expect(await get('/models/org%2Fb')).toEqual({ id: 'org/b', ...entry });
    expect((await fetch(`${BASE_URL}/models/x`)).status).toBe(404);
  });
});

describe('keys', () => {
  it('go to exactly their origin, and can change', async () => {
    let key = 'first';
    const engine = await startNamedEngine('a');
    const other = await startNamedEngine('b');
    const { post, register } = await startFetch({ keys: { [engine.origin]: () => key } });
    await register('a', engine.url, { model: 'a' });
    await register('b', other.url, { model: 'b' });
    await post(CHAT, { model: 'a' });
    key = 'second';
    await post(CHAT, { model: 'a' });
    await post(CHAT, { model: 'b' });
    const getKeys = ({ requests }: HttpEngine): unknown[] => requests.map(({ headers }) => headers.authorization);
    expect([getKeys(engine), getKeys(other)]).toEqual([['Bearer first', 'Bearer second'], [undefined]]);
    key = 'a secret\n';
    const response = await post(CHAT, { model: 'a' });
    const { message } = await readError(response);
    expect([response.status, message]).toEqual([
      400,
      expect.stringMatching(/^option keys: the key of http:.* is empty, or/),
    ]);
    expect(message).not.toContain('secret');
  });

  it('are never sent in plaintext to a public address', async () => {
    const { post, register } = await startFetch({ keys: { 'http://203.0.113.1:8000': 'secret' } });
    await register('a', 'http://203.0.113.1:8000/v1');
    const response = await post(CHAT, { model: 'm' });
    expect([response.status, (await readError(response)).message]).toEqual([
      503,
      expect.stringContaining('not allowed'),
    ]);
  });

  it.each([
    [{ keys: { 'gpu7:8000': 'k' } }, 'option keys: "gpu7:8000" is not an origin; give one such as'],
    [{ keys: { 'http://a/v1': 'k' } }, 'option keys: "http://a/v1" is not an origin; give one such as'],
    [{ keys: { 'http://a': 'a b' } }, 'option keys: the key of http://a is empty, or has a space'],
    [{ allowNetworks: ['10.0.0'] }, 'option allowNetworks: "10.0.0" is not a network'],
    [{ server: [] }, 'option server: give the URL of an API server'],
    [{ where: 'a in' }, 'where: '],
    [{ pick: 'best' as never }, ''],
  ])('and other options are checked: %j', async (options, message) => {
    await expect(startFetch(options)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining(message),
    });
  });
});
