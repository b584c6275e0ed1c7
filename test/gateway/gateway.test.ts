import { request as httpRequest } from 'node:http';
import OpenAI from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { CallerKeys } from '../../src/credentials/caller-keys.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import type { FindCaller } from '../../src/gateway/steering.js';
import { openRawConnection, startTestApiServer } from '../support/api-server.js';
import { startTestGateway } from '../support/gateway.js';
import { type HttpEngine, type ReceivedRequest, readError, sendJson, startHttpEngine } from '../support/http-engine.js';
import { exchangeBytes } from '../support/raw-exchange.js';
import { createRecordingLog } from '../support/replicas.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startGateway(...args: Parameters<typeof startTestGateway>) {
  const started = await startTestGateway(...args);
  cleanups.push(() => started.close());
  return started;
}

async function startEngine(...args: Parameters<typeof startHttpEngine>): Promise<HttpEngine> {
  const engine = await startHttpEngine(...args);
  cleanups.push(() => engine.close());
  return engine;
}

/** Starts an engine that responds with its name. */
const startNamedEngine = (name: string): Promise<HttpEngine> =>
  startEngine((_request, response) => sendJson(response, { engine: name }));

const CHAT = '/v1/chat/completions';

describe('a call', () => {
  it('passes the bytes, the query string and the listed headers, and no credential', async () => {
    const { register, post, waitForModels } = await startGateway({ passedHeaders: ['X-Mine'] });
    const engine = await startNamedEngine('a');
    await register('a', engine.url);
    await waitForModels('m');
    const body = '{ "messages":[{"role":"user","content":"\\u00e4 ☃"}],\n "model" : "m", "unknown": 1.0 }';
    await post(`${CHAT}?api-version=2`, body, {
      authorization: 'Bearer secret',
      cookie: 'a=b',
      'api-key': 'secret',
      'x-mine': '1',
      'x-request-id': 'id1',
      traceparent: '00-1-2-01',
      'x-stainless-lang': 'js',
    });
    const received = engine.requests.at(-1) as ReceivedRequest;
    expect([received.url, received.body]).toEqual([`${CHAT}?api-version=2`, body]);
    const { host, connection, 'user-agent': _agent, ...headers } = received.headers;
    expect([host, connection]).toEqual([new URL(engine.origin).host, undefined]);
    expect(headers).toEqual({
      accept: '*/*',
      'accept-encoding': 'identity',
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'x-mine': '1',
      'x-request-id': 'id1',
      traceparent: '00-1-2-01',
      'x-stainless-lang': 'js',
    });
  });

  it('returns the status, headers and bytes of the engine', async () => {
    const { register, gateway, waitForModels } = await startGateway();
    const engine = await startEngine((_request, response) => {
      response.sendDate = false;
      response.writeHead(422, 'Not Like This', [
        'Set-Cookie',
        'a=1',
        'X-Case',
        'Kept',
        'Set-Cookie',
        'b=2',
        'X-Anyserve-Mine',
        'no',
        'Content-Length',
        '4',
      ]);
      response.end('{"e"');
    });
    await register('a', engine.url);
    await waitForModels('m');
    const received = await new Promise<{ status: unknown; reason: unknown; raw: string[]; body: string }>(
      (resolve, reject) => {
        const sent = httpRequest(`${gateway.url}${CHAT}`, { method: 'POST' }, (response) => {
          let body = '';
          response.on('data', (piece) => {
            body += piece;
          });
          response.on('end', () =>
            resolve({ status: response.statusCode, reason: response.statusMessage, raw: response.rawHeaders, body }),
          );
        });
        sent.on('error', reject);
        sent.end('{"model":"m"}');
      },
    );
    expect([received.status, received.reason, received.body]).toEqual([422, 'Not Like This', '{"e"']);
    expect(received.raw.slice(0, 8)).toEqual([
      'Set-Cookie',
      'a=1',
      'X-Case',
      'Kept',
      'Set-Cookie',
      'b=2',
      'Content-Length',
      '4',
    ]);
    expect(received.raw).toContain('x-anyserve-replica');
    expect(received.raw).not.toContain('X-Anyserve-Mine');
  });

  it.each([
    ['that it has', 'Sun, 06 Nov 1994 08:49:37 GMT'],
    ['of now, if it has none', undefined],
  ])('returns the date of the engine %s', async (_which, date) => {
    const { register, post, waitForModels } = await startGateway();
    const engine = await startEngine((_request, response) => {
      response.sendDate = false;
      if (date !== undefined) response.setHeader('date', date);
      sendJson(response, {});
    });
    await register('a', engine.url);
    await waitForModels('m');
    const received = (await post(CHAT, { model: 'm' })).headers.get('date') ?? '';
    if (date === undefined) expect(Math.abs(Date.parse(received) - Date.now())).toBeLessThan(30_000);
    else expect(received).toBe(date);
  });

  it('of an alias has the model of the first target that is offered, at its place in the body', async () => {
    const { register, post, waitForModels } = await startGateway({
      aliases: new Map([['gpt', ['absent', 'm"1']]]),
    });
    const engine = await startNamedEngine('a');
    await register('a', engine.url, { model: 'm"1' });
    await waitForModels('gpt', 'm"1');
    const response = await post(CHAT, '{"a":"gpt","model":"gpt","z":[1]}');
    expect(response.status).toBe(200);
    expect(engine.requests[0]?.body).toBe('{"a":"gpt","model":"m\\"1","z":[1]}');
  });

  it.each([
    [
      'closes the connection',
      (_request: unknown, _response: unknown, raw: { socket: { destroy(): void } }) => raw.socket.destroy(),
    ],
    ['is overloaded', (_request: unknown, response: Parameters<typeof sendJson>[0]) => sendJson(response, {}, 503)],
    ['fails', (_request: unknown, response: Parameters<typeof sendJson>[0]) => sendJson(response, {}, 500)],
    [
      'has lost the model',
      (_request: unknown, response: Parameters<typeof sendJson>[0]) =>
        sendJson(response, { error: { message: 'model m not found' } }, 404),
    ],
    [
      'breaks off its response',
      (_request: unknown, response: Parameters<typeof sendJson>[0]) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
        response.write('{"engine":');
        setTimeout(() => response.destroy(), 20);
      },
    ],
  ] as const)('goes to another replica when one %s', async (_what, respond) => {
    const { register, post, waitForModels, finished } = await startGateway();
    const bad = await startEngine(respond as never);
    const good = await startNamedEngine('good');
    await register('bad', bad.url);
    await register('good', good.url);
    await waitForModels('m');
    for (let call = 0; call < 2; call++)
      expect(await (await post(CHAT, { model: 'm' })).json()).toEqual({ engine: 'good' });
    expect(bad.requests.length).toBeGreaterThan(0);
    expect(finished.reduce((sum, { attempts }) => sum + attempts, 0)).toBe(2 + bad.requests.length);
  });

  it('that fails everywhere gets the last response as it came, and a header that asks clients not to repeat it', async () => {
    const { register, post, waitForModels, finished } = await startGateway();
    for (const id of ['a', 'b']) {
      const engine = await startEngine((_request, response) =>
        sendJson(response, { from: id, error: { message: 'bad prompt: SECRET' } }, 500, { 'x-mine': '1' }),
      );
      await register(id, engine.url);
    }
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm' });
    const { from } = (await response.json()) as { from: string };
    const { headers } = response;
    expect([response.status, headers.get('x-mine'), headers.get('x-should-retry')]).toEqual([500, '1', 'false']);
    expect(['a', 'b']).toContain(from);
    expect(headers.get('x-anyserve-replica')).toBe(from);
    expect(finished[0]).toMatchObject({ replicaId: from, failure: 'the last response was HTTP 500' });
  });

  it.each([
    ['of another model', { model: 'n' }, {}],
    ['of another caller', { model: 'm', fails: true }, { authorization: 'Bearer key-of-bob-1234567890' }],
  ])('is tried at the next replica, however many calls %s fail', async (_whose, failing, headers) => {
    const keys = ['alice key-of-alice-1234567', 'bob key-of-bob-1234567890'];
    const findCaller: FindCaller = (...request) => new CallerKeys(keys, 'keys').find(...request);
    const { register, post, waitForModels } = await startGateway({ findCaller }, 'key-of-alice-1234567');
    let isOverloaded = true;
    for (const id of ['a', 'b']) {
      const engine = await startEngine(({ body }, response) => {
        if (body === JSON.stringify(failing)) return sendJson(response, {}, 500);
        sendJson(response, {}, isOverloaded ? 503 : 200);
        isOverloaded = false;
      });
      await register(id, engine.url, { model: 'm' }, { model: 'n' });
    }
    await waitForModels('m', 'n');
    // After these, the budget has less than a token.
    for (let call = 0; call < 18; call++) expect((await post(CHAT, failing, headers)).status).toBe(500);
    expect((await post(CHAT, { model: 'm' })).status).toBe(200);
  });

  it('gets its own response while many others are in progress and some are cancelled', async () => {
    const { register, gateway, waitForModels } = await startGateway();
    const engine = await startEngine(({ body }, response) => sendJson(response, { echo: JSON.parse(body).text }));
    await register('a', engine.url);
    await waitForModels('m');
    const call = async (text: string, signal?: AbortSignal): Promise<unknown> => {
      const body = JSON.stringify({ model: 'm', text });
      return (await fetch(`${gateway.url}${CHAT}`, { method: 'POST', body, ...(signal && { signal }) })).json();
    };
    for (let wave = 0; wave < 5; wave++) {
      const abort = new AbortController();
      const cancelled = Array.from({ length: 20 }, () => call('cancelled', abort.signal).catch(() => undefined));
      const texts = Array.from({ length: 100 }, (_, n) => `${wave} ${'x'.repeat(100 * n)}`);
      const echoes = Promise.all(texts.map((text) => call(text)));
      setImmediate(() => abort.abort());
      expect(await echoes).toEqual(texts.map((echo) => ({ echo })));
      await Promise.all(cancelled);
    }
  });

  it('is cancelled at the engine when the caller leaves', async () => {
    const { register, gateway, waitForModels, finished } = await startGateway();
    let isClosed = false;
    const engine = await startEngine((_request, response) =>
      response.on('close', () => {
        isClosed = true;
      }),
    );
    await register('a', engine.url);
    await waitForModels('m');
    const abort = new AbortController();
    const call = fetch(`${gateway.url}${CHAT}`, { method: 'POST', body: '{"model":"m"}', signal: abort.signal });
    await until('the engine has the call', () => engine.requests.length === 1);
    abort.abort();
    await expect(call).rejects.toThrow();
    await until('it is cancelled', () => isClosed);
    await until('it has ended', () => finished.length === 1);
    expect(finished[0]).toMatchObject({ status: 499, attempts: 1, failure: undefined });
  });

  it('is cancelled at the engine when the caller closes only its side, because one that leaves begins with that, too', async () => {
    const { register, gateway, waitForModels, finished } = await startGateway();
    let isClosed = false;
    const engine = await startEngine((_request, response) =>
      response.on('close', () => {
        isClosed = true;
      }),
    );
    await register('a', engine.url);
    await waitForModels('m');
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\r\n`;
    const { socket, received } = openRawConnection(gateway.port, `${head}{"model":"m"}`);
    await until('the engine has the call', () => engine.requests.length === 1);
    socket.end();
    await until('it is cancelled', () => isClosed);
    await until('the connection is closed', () => socket.closed);
    expect([received(), finished[0]?.status]).toEqual(['', 499]);
  });

  it.each([
    ['no model', '{"a":1}', 400],
    ['two models', '{"model":"m","model":"m"}', 400],
    ['a model that is not a string', '{"model":5}', 400],
    ['a body that is not JSON', 'model=m', 400],
    ['a large body', `{"model":"m","a":"${'x'.repeat(1024 * 1024)}"}`, 413],
  ])('with %s is refused', async (_what, body, status) => {
    const { post } = await startGateway();
    const response = await post(CHAT, body);
    expect([response.status, (await readError(response)).type]).toEqual([status, 'invalid_request_error']);
  });

  it('of an unknown model is refused with the closest name', async () => {
    const { register, post, waitForModels } = await startGateway();
    await register('a', 'http://127.0.0.1:1/v1', { model: 'llama-3.1-8b' });
    await waitForModels('llama-3.1-8b');
    const response = await post(CHAT, { model: 'lama-3.1-8b' });
    const error = await readError(response);
    expect([response.status, error.code]).toEqual([404, 'model_not_found']);
    expect(error.message).toContain('did you mean "llama-3.1-8b"?');
  });

  it.each<[string, object]>([
    ['previous_response_id', { previous_response_id: 'r' }],
    ['conversation', { conversation: 'c' }],
    ['conversation', { conversation: { id: 'c' } }],
  ])('that continues what one engine keeps needs a model with one replica: %s', async (member, members) => {
    const { register, post, waitForModels } = await startGateway();
    const [a, b] = [await startNamedEngine('a'), await startNamedEngine('b')];
    await register('a', a.url);
    await waitForModels('m');
    const body = { model: 'm', ...members };
    expect((await post('/v1/responses', { ...body, model: 'unknown' })).status).toBe(404);
    expect((await post('/v1/responses', body)).status).toBe(200);
    await register('b', b.url);
    await until('it is refused', async () => (await post('/v1/responses', body)).status === 400);
    const { message, param } = await readError(await post('/v1/responses', body));
    expect([message, param]).toEqual([expect.stringMatching(`^${member} refers to`), member]);
    expect((await post('/v1/responses', { model: 'm', [member]: null })).status).toBe(200);
    expect((await post(CHAT, { model: 'm', conversation: 'c' })).status).toBe(200);
  });
});

describe('a call while all replicas of its model', () => {
  const BUSY = { error: { message: 'busy' } };

  it('ask to wait: waits as long, and then gets a response', async () => {
    const { register, post, waitForModels } = await startGateway();
    let count = 0;
    const engine = await startEngine((_request, response) =>
      count++ === 0 ? sendJson(response, BUSY, 429, { 'retry-after': '1' }) : sendJson(response, { n: count }),
    );
    await register('a', engine.url);
    await waitForModels('m');
    expect(await (await post(CHAT, { model: 'm' })).json()).toEqual({ n: 2 });
  });

  it('ask to wait for long: gets the response of an engine with the smallest time', async () => {
    const { register, post, waitForModels } = await startGateway({ queueTimeoutMs: 2000 });
    for (const [id, seconds] of [
      ['a', '50'],
      ['b', '20'],
    ] as const) {
      const engine = await startEngine((_request, response) =>
        sendJson(response, BUSY, 429, { 'Retry-After': seconds }),
      );
      await register(id, engine.url);
    }
    await waitForModels('m');
    for (let call = 0; call < 2; call++) {
      const response = await post(CHAT, { model: 'm' });
      expect(response.status).toBe(429);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(17);
      expect(Number(response.headers.get('retry-after'))).toBeLessThan(21);
    }
  });

  it('ask to wait for very long: gets the time that the engine asked for', async () => {
    const { register, post, waitForModels } = await startGateway();
    const engine = await startEngine((_request, response) => sendJson(response, BUSY, 429, { 'retry-after': '3600' }));
    await register('a', engine.url);
    await waitForModels('m');
    for (let call = 0; call < 2; call++) {
      const response = await post(CHAT, { model: 'm' });
      expect(response.status).toBe(429);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(3590);
    }
    expect(engine.requests).toHaveLength(1);
  });

  it('are at their limit: waits for one, and goes to the other model of an alias if that is free', async () => {
    const { register, reportLoad, post, waitForModels } = await startGateway({
      aliases: new Map([['any', ['m', 'n']]]),
    });
    const [full, free] = [await startNamedEngine('full'), await startNamedEngine('free')];
    await register('full', full.url, { model: 'm' });
    await register('free', free.url, { model: 'n' });
    await waitForModels('any', 'm', 'n');
    reportLoad('full', { running: 9, waiting: 0, limit: 5 });
    let waiting: Promise<Response> | undefined;
    await until('a call waits', async () => {
      const call = post(CHAT, { model: 'm' });
      const isOver = await Promise.race([call.then(() => true), new Promise((resolve) => setTimeout(resolve, 500))]);
      if (!isOver) waiting = call;
      return !isOver;
    });
    const { length } = full.requests;
    expect(await (await post(CHAT, { model: 'any' })).json()).toEqual({ engine: 'free' });
    expect(full.requests.length).toBe(length);
    reportLoad('full', { running: 1, waiting: 0, limit: 5 });
    expect(await (await waiting)?.json()).toEqual({ engine: 'full' });
  });

  it('are at their limit: gets a 503 if it can not wait', async () => {
    const { register, reportLoad, post, waitForModels } = await startGateway({ maxQueuedCalls: 0 });
    await register('full', (await startNamedEngine('full')).url);
    await waitForModels('m');
    reportLoad('full', { running: 9, waiting: 0, limit: 5 });
    let response = new Response();
    await until('a call is refused', async () => {
      response = await post(CHAT, { model: 'm' });
      return !response.ok;
    });
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect((await readError(response)).message).toContain('run as many calls as they can');
  });
});

describe('a stream', () => {
  it('passes each event when it arrives', async () => {
    const { register, post, waitForModels } = await startGateway();
    const waiting: (() => void)[] = [];
    const engine = await startEngine(async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let n = 0; n < 3; n++) {
        response.write(`data: ${n}\n\n`);
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
      response.end('data: [DONE]\n\n');
    });
    await register('a', engine.url);
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm', stream: true });
    const received: string[] = [];
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      received.push(Buffer.from(piece).toString());
      await until('the engine waits', () => waiting.length > 0);
      waiting.shift()?.();
      if (received.length === 3) break;
    }
    expect(received).toEqual(['data: 0\n\n', 'data: 1\n\n', 'data: 2\n\n']);
  });

  it('that breaks off ends with an error event, and without the end of the response', async () => {
    const { register, gateway, waitForModels, finished } = await startGateway();
    const engine = await startEngine((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"n":0}\n\n');
      setTimeout(() => response.destroy(), 50);
    });
    await register('a', engine.url);
    await waitForModels('m');
    const raw = await exchangeBytes(
      gateway.port,
      `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 27\r\n\r\n{"model":"m","stream":true}`,
    );
    const body = raw.slice(raw.indexOf('\r\n\r\n') + 4);
    expect(body).toContain('data: {"n":0}\n\n');
    expect(body).toMatch(
      /\nevent: error\ndata: \{"error":\{"message":"[^"]+","type":"server_error","param":null,"code":"incomplete_response"\}\}\n\n/,
    );
    expect(body.endsWith('0\r\n\r\n')).toBe(false);
    expect(finished[0]?.failure).toContain('the response is incomplete');
  });
});

it.each([
  ['x-anyserve-query', 'zone=b'],
  ['x-anyserve-selector', 'zone%3Db'],
])(
  'a call whose header %s excludes all replicas gets a 404 that says so, which clients do not repeat',
  async (header, value) => {
    const { register, post, waitForModels } = await startGateway({ aliases: new Map([['alias', ['m']]]) });
    await register('a', 'http://127.0.0.1:1/v1', { model: 'm', zone: 'a' });
    await waitForModels('alias', 'm');
    for (const model of ['m', 'alias']) {
      const response = await post(CHAT, { model }, { [header]: value });
      const message = `no replica of the model "${model}" matches the X-Anyserve headers of the request`;
      expect([response.status, await readError(response)]).toEqual([
        404,
        expect.objectContaining({ message, code: 'no_match' }),
      ]);
      expect(response.headers.get('retry-after')).toBeNull();
    }
  },
);

describe('a caller', () => {
  /** Starts two engines for one model, in the zones a and b. `call` returns the zones of the engines that took 20 calls. */
  async function startZones(...args: Parameters<typeof startTestGateway>) {
    const { register, post, waitForModels } = await startGateway(...args);
    for (const zone of ['a', 'b']) await register(zone, (await startNamedEngine(zone)).url, { model: 'm', zone });
    await waitForModels('m');
    return async (headers: Record<string, string>, body: object = {}): Promise<string> => {
      const zones = new Set<string>();
      for (let call = 0; call < 20; call++) {
        const response = await post(CHAT, { model: 'm', ...body }, headers);
        zones.add(((await response.json()) as { engine: string }).engine);
      }
      return [...zones].sort().join();
    };
  }

  it('can prefer replicas', async () => {
    const call = await startZones();
    expect(await call({})).toBe('a,b');
    expect(await call({ 'x-anyserve-prefer': 'zone%3Db' })).toBe('b');
    expect(await call({ 'x-anyserve-prefer': 'zone%3Dc' })).toBe('a,b');
  });

  it('has its calls at the same replica with the same affinity, for the pick affinity', async () => {
    const call = await startZones({ pick: 'affinity' });
    const zones = new Set<string>();
    for (let key = 0; key < 20; key++) zones.add(await call({ 'x-anyserve-affinity': `key-${key}` }));
    expect([...zones].sort()).toEqual(['a', 'b']);
  });

  it('has the calls of a conversation at the same replica with the pick affinity', async () => {
    const call = await startZones({ pick: 'affinity' });
    const zones = new Set<string>();
    for (let user = 0; user < 20; user++) zones.add(await call({}, { user: `user-${user}` }));
    expect([...zones].sort()).toEqual(['a', 'b']);
  });
});

it('a form with an aliased model is sent with the name of the model, and otherwise unchanged', async () => {
  const { register, gateway, waitForModels } = await startGateway({ aliases: new Map([['whisper-1', ['m']]]) });
  const engine = await startNamedEngine('a');
  await register('a', engine.url);
  await waitForModels('m', 'whisper-1');
  const createBody = (model: string): string =>
    [
      '--X\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\u0000bytes\r\n',
      `--X\r\ncontent-disposition: form-data; name="model"\r\n\r\n${model}\r\n`,
      '--X\r\ncontent-disposition: form-data; name="language"\r\n\r\nen\r\n--X--\r\n',
    ].join('');
  const response = await fetch(`${gateway.url}/v1/audio/transcriptions`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=X' },
    body: createBody('whisper-1'),
  });
  expect(await response.json()).toEqual({ engine: 'a' });
  const { body, headers, url } = engine.requests.at(-1) as ReceivedRequest;
  expect([url, body]).toEqual(['/v1/audio/transcriptions', createBody('m')]);
  expect(headers).toMatchObject({
    'content-type': 'multipart/form-data; boundary=X',
    'content-length': String(createBody('m').length),
  });
});

describe('a key', () => {
  const KEYS = ['# callers', 'alice key-of-alice-1234567 steer', 'bob key-of-bob-1234567890 where=zone=b'];
  const findCaller: FindCaller = (authorization, connection) =>
    new CallerKeys(KEYS, 'keys').find(authorization, connection);

  it('is required, and restricts the replicas of its caller', async () => {
    const { register, post, waitForModels, finished, gateway } = await startGateway(
      { findCaller, aliases: new Map([['first', ['only-a', 'm']]]) },
      'key-of-alice-1234567',
    );
    const [a, b] = [await startNamedEngine('a'), await startNamedEngine('b')];
    await register('a', a.url, { model: 'm', zone: 'a' });
    await register('a2', a.url, { model: 'only-a', zone: 'a' });
    await register('b', b.url, { model: 'm', zone: 'b' });
    await waitForModels('first', 'm', 'only-a');
    const bob = { authorization: 'Bearer key-of-bob-1234567890' };
    for (let call = 0; call < 3; call++) {
      const response = await post(CHAT, { model: 'm' }, { ...bob, 'x-anyserve-query': 'zone=a' });
      expect([await response.json(), response.headers.get('x-anyserve-replica')]).toEqual([{ engine: 'b' }, null]);
    }
    expect(await (await post(CHAT, { model: 'first' }, bob)).json()).toEqual({ engine: 'b' });
    const hidden = await post(CHAT, { model: 'only-a' }, bob);
    expect([hidden.status, (await readError(hidden)).code]).toEqual([404, 'model_not_found']);
    const models = await (await fetch(`${gateway.url}/v1/models`, { headers: bob })).json();
    expect((models as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual(['first', 'm']);
    const steered = await post(CHAT, { model: 'm' }, { 'x-anyserve-selector': 'zone%3Db' });
    expect([await steered.json(), steered.headers.get('x-anyserve-replica')]).toEqual([{ engine: 'b' }, 'b']);
    expect(finished.map(({ caller }) => caller)).toEqual(['bob', 'bob', 'bob', 'bob', 'bob', 'alice']);
    for (const authorization of [
      '',
      'Bearer x',
      'Basic a2V5',
      'Bearer key-of-alice-12345678',
      'Bearer key-of-alice-123456',
    ]) {
      const refused = await post(CHAT, { model: 'm' }, { authorization });
      expect([refused.status, (await readError(refused)).code]).toEqual([401, 'invalid_api_key']);
    }
  });
});

describe('a call that kills its replicas', () => {
  it('does not visit those of all models of an alias', async () => {
    const aliases = new Map([['any', ['a', 'b', 'c']]]);
    const { register, post, waitForModels } = await startGateway({ aliases });
    let visits = 0;
    for (const model of ['a', 'b', 'c']) {
      for (const n of [1, 2]) {
        const engine = await startEngine((_request, response) => {
          visits++;
          response.destroy();
        });
        await register(`${model}${n}`, engine.url, { model });
      }
    }
    await waitForModels('a', 'any', 'b', 'c');
    const response = await post(CHAT, { model: 'any' });
    expect([response.status, visits]).toEqual([503, 2]);
  });
});

describe('a path', () => {
  it.each([
    ['/v1/load_lora_adapter', 404],
    ['/v1/chat/completions/../../load_lora_adapter', 400],
    ['/v1/chat/%2e%2e/completions', 400],
    ['/v1%2fchat/completions', 400],
    ['/v1//chat/completions', 400],
    ['/admin', 404],
    ['/v1/files', 400],
    ['/v1/responses/resp_1', 400],
  ])('%s is refused', async (path, status) => {
    const { gateway } = await startGateway();
    const raw = await exchangeBytes(
      gateway.port,
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    );
    expect(raw).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it.each(['/v1/responses/compact', '/v1/responses/input_tokens'])('%s is that of a call', async (path) => {
    const { register, post, waitForModels } = await startGateway();
    const engine = await startEngine((request, response) => sendJson(response, { path: request.url }));
    await register('a', engine.url);
    await waitForModels('m');
    const response = await post(path, { model: 'm', input: 'hello' });
    expect([response.status, await response.json()]).toEqual([200, { path }]);
  });

  it.each([
    ['/v1/models', 'GET, HEAD'],
    ['/v1/models/m', 'GET, HEAD'],
    ['/metrics', 'GET, HEAD'],
    [CHAT, 'POST'],
  ])('%s names its methods in a 405', async (path, methods) => {
    const { gateway } = await startGateway();
    const response = await fetch(`${gateway.url}${path}`, { method: 'PUT', body: '{}' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, methods]);
  });

  it.each(['org/model', '/models/a.gguf', 'a%2Fb', '../a', 'a b?c#d'])(
    'with the name of the model %s is read by clients',
    async (id) => {
      const { gateway, register, waitForModels } = await startGateway();
      await register('a', 'http://127.0.0.1:1/v1', { model: id });
      await waitForModels(id);
      const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: '-' });
      expect(await openai.models.retrieve(id)).toMatchObject({ id });
    },
  );

  it.each(['/v1/models', '/metrics'])('%s has a head, which clients read without the body', async (path) => {
    const { gateway } = await startGateway();
    const [head, whole] = await Promise.all(
      ['HEAD', 'GET'].map((method) => fetch(`${gateway.url}${path}`, { method })),
    );
    expect([head?.status, await head?.text()]).toEqual([200, '']);
    expect(head?.headers.get('content-type')).toBe(whole?.headers.get('content-type'));
  });

  it('needs the list of replicas: a 503 with Retry-After before the first one', async () => {
    const { gateway, post } = await startGateway({ servers: ['http://127.0.0.1:1'] });
    const previous = { model: 'm', previous_response_id: 'r' };
    const responses = await Promise.all([
      fetch(`${gateway.url}/v1/models`),
      fetch(`${gateway.url}/v1/models/m`),
      post('/v1/responses', previous),
    ]);
    for (const response of responses)
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
  });

  it('can be allowed', async () => {
    const { register, post, waitForModels } = await startGateway({ allowedPaths: ['/tokenize'] });
    const engine = await startNamedEngine('a');
    await register('a', engine.url);
    await waitForModels('m');
    expect((await post('/v1/tokenize', { model: 'm' })).status).toBe(200);
  });
});

it.each([
  ['on all addresses', '0.0.0.0', false, 1],
  ['on all addresses, with a register token', '0.0.0.0', true, 0],
  ['on loopback', '127.0.0.1', false, 0],
])('a gateway warns if everyone can register replicas: %s', async (_where, host, needsToken, count) => {
  const tokens = needsToken ? { register: () => new TokenSet(['register-token-1234']) } : undefined;
  const server = await startTestApiServer({ tokens });
  cleanups.push(() => server.close());
  const log = createRecordingLog();
  const warnings = log.lines;
  await startGateway({ servers: [server.url], host, log });
  await until('it has asked', () => warnings.length >= count);
  // A warning that is not expected would come at once.
  await new Promise((resolve) => setTimeout(resolve, count === 0 ? 200 : 0));
  expect(warnings.length).toBe(count);
});

it('readiness follows the API server and the shutdown, and calls finish before it', async () => {
  const { gateway, register, post, waitForModels } = await startGateway();
  let respond = (): void => {};
  const engine = await startEngine((_request, response) => {
    respond = () => sendJson(response, { done: true });
  });
  await register('a', engine.url);
  await waitForModels('m');
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  const call = post(CHAT, { model: 'm' });
  await until('the engine has the call', () => engine.requests.length === 1);
  const closed = gateway.close({ maxMs: 10_000 });
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
  respond();
  expect(await (await call).json()).toEqual({ done: true });
  await closed;
});

it('calls that arrive during the drain delay are handled, because load balancers notice a shutdown late', async () => {
  const { gateway, register, post, waitForModels } = await startGateway();
  await register('a', (await startNamedEngine('a')).url);
  await waitForModels('m');
  const closed = gateway.close({ delayMs: 4000 });
  const response = await post(CHAT, { model: 'm' });
  expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
  await closed;
  await expect(fetch(`${gateway.url}/livez`)).rejects.toThrow();
});
