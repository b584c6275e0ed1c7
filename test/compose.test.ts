import { describe, expect, it } from 'vitest';
import {
  App,
  Client,
  connectOpenaiBackend,
  keepRegistered,
  loadLlamaBackend,
  startApiServer,
  startWorker,
} from '../src/index.js';
import { createFetch } from '../src/openai.js';
import { createEchoBackend } from '../src/worker/echo-backend.js';

const backends = [createEchoBackend()];

/** Functions of the library: how to call each, and its options that are numbers. */
const FUNCTIONS = {
  startApiServer: {
    call: async (options: object) => (await startApiServer({ port: 0, ...options })).close(),
    options: [
      'port',
      'heartbeatMs',
      'ackTimeoutMs',
      'warmingMs',
      'maxReplicas',
      'maxRegistryBytes',
      'maxStreamsPerPeer',
    ],
  },
  startWorker: {
    call: async (options: object) => (await startWorker({ backends, port: 0, servers: [], ...options })).stop(),
    options: [
      'port',
      'weight',
      'maxConcurrency',
      'maxQueue',
      'maxMessageBytes',
      'maxDecodingBytes',
      'drainDelayMs',
      'drainTimeoutMs',
    ],
  },
  Client: {
    call: async (options: object) => new Client({ endpoint: 'localhost:1', ...options }).close(),
    options: ['timeoutMs', 'firstMessageTimeoutMs', 'streamIdleTimeoutMs', 'maxMessageBytes', 'hedgeAfterMs'],
  },
  createFetch: {
    call: async (options: object) => createFetch({ server: 'http://x', ...options }).close(),
    options: ['timeoutMs', 'firstByteTimeoutMs', 'streamIdleTimeoutMs', 'hedgeAfterMs'],
  },
  connectOpenaiBackend: {
    call: async (options: object) => connectOpenaiBackend({ url: 'no URL', ...options }),
    options: ['timeoutMs', 'idleTimeoutMs'],
  },
  loadLlamaBackend: {
    call: async (options: object) => loadLlamaBackend({ path: 'no file', ...options }),
    options: ['threads', 'contextSize', 'sequences'],
  },
  keepRegistered: {
    call: async (options: object) =>
      (await keepRegistered({ server: 'http://x', id: 'r', endpoint: 'a:1', capabilities: [], ...options })).stop(),
    options: ['weight'],
  },
  update: {
    call: async (options: object) => {
      const replica = await keepRegistered({ server: 'http://x', id: 'r', endpoint: 'a:1', capabilities: [] });
      await replica.update({ capabilities: [], ...options }).finally(() => replica.stop());
    },
    options: [],
  },
  infer: { call: withClient((client, options) => client.infer('m', {}, options)), options: ['timeoutMs'] },
  inferStream: {
    call: withClient((client, options) => client.inferStream('m', {}, options).next()),
    options: ['timeoutMs', 'maxResponseBytes'],
  },
  serverLive: { call: withClient((client, options) => client.serverLive(options)), options: ['timeoutMs'] },
  serverReady: { call: withClient((client, options) => client.serverReady(options)), options: ['timeoutMs'] },
  serverMetadata: { call: withClient((client, options) => client.serverMetadata(options)), options: ['timeoutMs'] },
  modelReady: { call: withClient((client, options) => client.modelReady('m', options)), options: ['timeoutMs'] },
  modelMetadata: { call: withClient((client, options) => client.modelMetadata('m', options)), options: ['timeoutMs'] },
  close: {
    call: async (options: object) => {
      const server = await startApiServer({ port: 0 });
      await server.close(options).finally(() => server.close());
    },
    options: ['drainMs'],
  },
  capability: {
    call: async (options: object) => new App().capability({ type: 'a' }, options, () => ({})),
    options: [],
  },
};

/** Calls a client of an endpoint where nothing listens. */
function withClient(call: (client: Client, options: object) => Promise<unknown>) {
  return async (options: object) => {
    const client = new Client({ endpoint: '127.0.0.1:1' });
    try {
      return await call(client, options);
    } finally {
      await client.close();
    }
  };
}

/** Options that aren't numbers, and values that each refuses. */
const TYPED: Readonly<Record<keyof typeof FUNCTIONS, Readonly<Record<string, readonly unknown[]>>>> = {
  startApiServer: {
    host: [5, null, ['a']],
    allowedHosts: ['x', [5]],
    metricsKeys: ['model', [5]],
    registerTokens: ['the-secret', ['the-secret']],
    readTokens: [{}],
    tls: ['x'],
    store: [5, {}],
    advertise: [8080],
    peerToken: [5],
    peerTokens: ['the-secret'],
    peerTls: ['x'],
    storeTls: ['x'],
    storeLogin: ['the-secret', { user: 'u' }],
    log: [5, {}, console.log],
  },
  startWorker: {
    backends: [undefined, 5, [5], {}],
    host: [5],
    id: [5],
    advertise: [5],
    servers: ['http://x', [5]],
    capabilities: [5, 'x', [5]],
    token: [5, { token: 'the-secret' }],
    serverTls: [5],
    callTokens: ['the-secret'],
    tls: [5],
    log: [5],
    onLeaseChange: [5],
  },
  keepRegistered: {
    server: [undefined, 5, [5]],
    id: [undefined, 5],
    endpoint: [undefined, 5],
    capabilities: [undefined, 5, 'x', [5]],
    token: [5],
    tls: [5],
    getLoad: [5],
    onChange: [5],
  },
  update: { capabilities: [undefined, 5, 'x', [5]] },
  Client: {
    server: [5, [5]],
    endpoint: [5],
    capability: [5, ['x'], { a: {} }],
    where: [5],
    prefer: [5],
    token: [5],
    callToken: [5],
    callTls: ['x', 0],
    tls: [5],
    pick: [5],
    onRetry: [5],
    onAttempt: ['x'],
    tracer: [5, {}],
    waitWhileWarming: [1],
  },
  createFetch: {
    server: [undefined, 5, [5]],
    capability: [5, ['x'], { a: {} }],
    where: [5],
    prefer: [5],
    token: [5],
    tls: [5],
    keys: [5, 'the-secret', ['the-secret'], { 'http://x': 5 }],
    passHeaders: ['x', [5]],
    allowNetworks: ['x', [5]],
    pick: [5],
    onRetry: [5],
    onAttempt: ['x'],
    tracer: [5, {}],
  },
  infer: {
    signal: [5, {}],
    version: [5],
    id: [5],
    parameters: [5, []],
    outputs: ['x', [5]],
    raw: ['x'],
    retryOnFailure: [1],
    affinity: [5],
  },
  inferStream: { fallBackToUnary: ['x'], signal: [5], version: [5] },
  serverLive: { signal: [5] },
  serverReady: { signal: [5] },
  serverMetadata: { signal: [5] },
  modelReady: { signal: [5], version: [5] },
  modelMetadata: { signal: [5], version: [5] },
  close: { signal: [5] },
  connectOpenaiBackend: {
    url: [undefined, 5],
    key: [5],
    models: ['x'],
    embeddingModels: ['x', 5],
    chatModels: ['x'],
    probePath: [5],
    capabilities: [5],
    signal: [5],
    log: [5],
  },
  loadLlamaBackend: { path: [undefined, 5], name: [5], embeddings: [5], capabilities: [5], log: [5] },
  capability: { name: [5, null], version: [1], inputs: ['x'], outputs: [5] },
};

/** Options that aren't numbers, and for which {@link TYPED} has no wrong values. */
const OTHER_OPTIONS: Readonly<Partial<Record<keyof typeof FUNCTIONS, readonly string[]>>> = {
  inferStream: ['id', 'parameters', 'outputs', 'raw', 'retryOnFailure', 'affinity'],
  connectOpenaiBackend: ['tls'],
};

const TYPED_CASES = Object.entries(TYPED).flatMap(([name, options]) =>
  Object.entries(options).flatMap(([option, values]) => values.map((value) => [name, option, value] as const)),
);

const NAMES = Object.keys(FUNCTIONS);
const CAPPED: ReadonlySet<string> = new Set(['connectOpenaiBackend']);

const CASES = Object.values(FUNCTIONS).flatMap(({ call, options }, at) =>
  options.flatMap((option) =>
    [-1, Number.NaN, Number.POSITIVE_INFINITY, '5' as never]
      // An infinite timeout of a call is capped at the longest delay of a timer.
      .filter(
        (value) => option !== 'timeoutMs' || CAPPED.has(NAMES[at] as string) || value !== Number.POSITIVE_INFINITY,
      )
      .map((value) => [NAMES[at] as string, option, value as number, call] as const),
  ),
);

describe('the library', () => {
  it.each(CASES)('%s refuses %s: %s and names the option', async (_name, option, value, call) => {
    await expect(call({ [option]: value })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(
        new RegExp(`^option ${option}: ${typeof value === 'string' ? '"5"' : value} is not `),
      ),
    });
  });

  it.each(TYPED_CASES)('%s refuses %s: %o and names the option', async (name, option, value) => {
    const failure = await FUNCTIONS[name as keyof typeof FUNCTIONS].call({ [option]: value }).then(
      () => undefined,
      (error) => error,
    );
    expect(failure).toMatchObject({
      code: 'usage',
      message: expect.stringMatching(new RegExp(`^option ${option}: .* is not `)),
    });
    expect(failure.message).not.toMatch(/\n|secret/);
  });

  it.each(['infer', 'inferStream', 'modelReady', 'close'] as const)(
    '%s refuses options that are not an object',
    async (name) => {
      const { call } = FUNCTIONS[name];
      for (const options of [null, 5, 'x', []]) {
        await expect(call(options as never)).rejects.toMatchObject({ code: 'usage' });
      }
    },
  );

  it('refuses null instead of options', async () => {
    for (const start of [startApiServer, startWorker, keepRegistered, connectOpenaiBackend, loadLlamaBackend]) {
      await expect(start(null as never)).rejects.toMatchObject({
        code: 'usage',
        message: 'options: null is not an object',
      });
    }
    expect(() => new Client(null as never)).toThrow('options: null is not an object');
  });

  it.each([
    ['startApiServer', 'heartbeatMs'],
    ['startApiServer', 'maxReplicas'],
    ['startWorker', 'maxConcurrency'],
    ['startWorker', 'weight'],
    ['keepRegistered', 'weight'],
    ['startWorker', 'maxMessageBytes'],
    ['connectOpenaiBackend', 'timeoutMs'],
    ['Client', 'maxMessageBytes'],
  ] as const)('%s refuses %s: 0', async (name, option) => {
    const refusal = { code: 'usage', message: expect.stringContaining(`option ${option}: 0 is not `) };
    await expect(FUNCTIONS[name].call({ [option]: 0 })).rejects.toMatchObject(refusal);
  });

  it('accepts 0 for all other times, and a queue of length 0', async () => {
    const calls = [
      FUNCTIONS.startApiServer.call({ ackTimeoutMs: 0, warmingMs: 0 }),
      FUNCTIONS.startWorker.call({ drainDelayMs: 0, drainTimeoutMs: 0, maxQueue: 0 }),
      FUNCTIONS.Client.call({ timeoutMs: 0, firstMessageTimeoutMs: 0, streamIdleTimeoutMs: 0 }),
    ];
    expect(await Promise.all(calls)).toEqual([undefined, undefined, undefined]);
  });
});

/** Calls a function of the library with its required options and others. Resolves to the error. */
function refuse(name: keyof typeof FUNCTIONS, options: object): Promise<{ code: string; message: string } | undefined> {
  return FUNCTIONS[name].call(options).then(
    () => undefined,
    (error) => error,
  );
}

describe('an option with an unknown name', () => {
  it.each(NAMES as (keyof typeof FUNCTIONS)[])('is refused by %s, with the list of options', async (name) => {
    const error = await refuse(name, { xyzzy: false });
    const [, known = ''] = error?.message.match(`^option xyzzy is unknown to ${name}; its options: (.*)$`) ?? [];
    expect([error?.code, known.split(', ').sort()]).toEqual([
      'usage',
      [...new Set([...FUNCTIONS[name].options, ...Object.keys(TYPED[name]), ...(OTHER_OPTIONS[name] ?? [])])].sort(),
    ]);
  });

  it.each([
    ['startWorker', 'server', 'servers'],
    ['startWorker', 'maxConcurency', 'maxConcurrency'],
    ['startApiServer', 'heartbeat', 'heartbeatMs'],
    ['startApiServer', 'registerToken', 'registerTokens'],
    ['Client', 'timeout', 'timeoutMs'],
    ['Client', 'servers', 'server'],
    ['Client', 'CallTLS', 'callTls'],
    ['createFetch', 'key', 'keys'],
    ['keepRegistered', 'servers', 'server'],
    ['update', 'capability', 'capabilities'],
    ['connectOpenaiBackend', 'probe', 'probePath'],
    ['connectOpenaiBackend', 'model', 'models'],
    ['loadLlamaBackend', 'context_size', 'contextSize'],
    ['infer', 'timeoutMS', 'timeoutMs'],
    ['inferStream', 'fallbackToUnary', 'fallBackToUnary'],
    ['modelReady', 'versions', 'version'],
    ['close', 'drain', 'drainMs'],
    ['capability', 'input', 'inputs'],
  ] as const)('is refused by %s, which suggests for %s the option %s', async (name, unknown, known) => {
    const message = `option ${unknown} is unknown to ${name}; did you mean ${known}?`;
    expect(await refuse(name, { [unknown]: 5 })).toMatchObject({ code: 'usage', message });
  });

  it('is reported rather than the missing option that it stands for', async () => {
    const missing = { servers: 'http://x', id: 'r', endpoint: 'a:1', capabilities: [] };
    await expect(keepRegistered(missing as never)).rejects.toThrow(/^option servers is unknown to keepRegistered/);
    expect(() => new Client({ servers: 'http://x' } as never)).toThrow(/^option servers is unknown to Client/);
  });

  it('is refused by a call to which it does not apply', async () => {
    expect(await refuse('infer', { fallBackToUnary: true })).toMatchObject({ code: 'usage' });
    expect(await refuse('serverLive', { version: '1' })).toMatchObject({ code: 'usage' });
    expect(await refuse('modelReady', { parameters: {} })).toMatchObject({ code: 'usage' });
  });

  it.each([
    ['startApiServer', 'tls'],
    ['startWorker', 'tls'],
    ['startWorker', 'serverTls'],
    ['Client', 'tls'],
    ['createFetch', 'tls'],
    ['keepRegistered', 'tls'],
    ['connectOpenaiBackend', 'tls'],
  ] as const)('is refused by %s within %s', async (name, option) => {
    expect(await refuse(name, { [option]: { cart: 'the-secret', key: 'the-secret' } })).toMatchObject({
      code: 'usage',
      message: `option ${option}.cart is unknown to ${name}; did you mean ${option}.cert?`,
    });
    expect((await refuse(name, { [option]: { rejectUnauthorized: false } }))?.message).toBe(
      `option ${option}.rejectUnauthorized is unknown to ${name}; its options: ca, cert, key`,
    );
  });

  it('is shown in one line, whatever it is', async () => {
    for (const unknown of ['a\nb', '', 'x'.repeat(10_000), 'constructor', '__proto__', 'toString']) {
      const error = await refuse('Client', Object.fromEntries([[unknown, 1]]));
      expect(error).toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/^option .* is unknown to Client; /),
      });
      expect(error?.message).not.toMatch(/\n/);
      expect(error?.message.length).toBeLessThan(1000);
    }
  });

  it('is accepted while its value is undefined', async () => {
    await FUNCTIONS.Client.call({ xyzzy: undefined, timeoutMs: undefined });
    await FUNCTIONS.startWorker.call({ server: undefined, tls: undefined });
    await FUNCTIONS.close.call({ drain: undefined });
  });
});

describe('options', () => {
  it('can be an object without a prototype', async () => {
    const options = Object.assign(Object.create(null), { endpoint: 'localhost:1', callTls: false });
    await new Client(options).close();
    await expect(async () => new Client(Object.assign(options, { timeout: 5 }))).rejects.toThrow('option timeout is');
  });

  it('can be an instance of a class, whose methods and accessors are not options', async () => {
    class Settings {
      timeoutMs = 5;
      readonly #endpoint = 'localhost:1';
      get endpoint(): string {
        return this.#endpoint;
      }
      get description(): string {
        return `${this.endpoint}, ${this.timeoutMs} ms`;
      }
      save(): void {}
    }
    const client = new Client(new Settings());
    expect(client.endpoint).toBe('localhost:1');
    await client.close();
    class Wrong extends Settings {
      override get endpoint(): string {
        return 5 as never;
      }
      timeout = 5;
    }
    expect(() => new Client(new Wrong())).toThrow('option timeout is unknown to Client; did you mean timeoutMs?');
    class Mistyped extends Settings {
      override get endpoint(): string {
        return 5 as never;
      }
    }
    expect(() => new Client(new Mistyped())).toThrow('option endpoint: 5 is not a string');
  });

  it('of a call can be frozen, and are not changed', async () => {
    const options = Object.freeze({ timeoutMs: 0, signal: AbortSignal.timeout(1000) });
    expect(await refuse('infer', options)).toMatchObject({ code: 'deadline_exceeded' });
  });
});

describe('startApiServer', () => {
  it('limits the leases, the watches and the event streams of an address to maxStreamsPerPeer', async () => {
    const server = await startApiServer({ port: 0, maxStreamsPerPeer: 1 });
    const opened = new AbortController();
    const open = (path: string, body?: object): Promise<Response> =>
      fetch(`${server.url}${path}`, {
        method: body ? 'POST' : 'GET',
        headers: body ? { 'content-type': 'application/json' } : {},
        body: body ? JSON.stringify(body) : null,
        signal: opened.signal,
      });
    try {
      for (const path of ['/register', '/watch', '/events?follow']) {
        const openOne = async (id: string): Promise<number> => {
          const body = { replica_id: id, endpoint: 'a:1', capabilities: [{ type: 'a' }] };
          return (await open(path, path === '/register' ? body : undefined)).status;
        };
        expect([path, await openOne('r1'), await openOne('r2')]).toEqual([path, 200, 429]);
      }
    } finally {
      opened.abort();
      await server.close();
    }
  });
});
