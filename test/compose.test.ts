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
    options: ['timeoutMs', 'firstMessageTimeoutMs', 'streamIdleTimeoutMs', 'maxMessageBytes'],
  },
  openaiBackend: {
    call: async (options: object) => connectOpenaiBackend({ url: 'no URL', ...options }),
    options: ['timeoutMs', 'idleTimeoutMs'],
  },
  llamaBackend: {
    call: async (options: object) => loadLlamaBackend({ path: 'no file', ...options }),
    options: ['threads', 'contextSize', 'sequences'],
  },
  keepRegistered: {
    call: async (options: object) =>
      (await keepRegistered({ server: 'http://x', id: 'r', endpoint: 'a:1', capabilities: [], ...options })).stop(),
    options: [],
  },
  infer: { call: withClient((client, options) => client.infer('m', {}, options)), options: ['timeoutMs'] },
  inferStream: {
    call: withClient((client, options) => client.inferStream('m', {}, options).next()),
    options: ['timeoutMs', 'maxResponseBytes'],
  },
  modelReady: { call: withClient((client, options) => client.modelReady('m', options)), options: ['timeoutMs'] },
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
    registerTokens: ['the-secret', ['the-secret']],
    readTokens: [{}],
    tls: ['x'],
    store: [5, {}],
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
    onChange: [5],
  },
  Client: {
    server: [5, [5]],
    endpoint: [5],
    capability: [5, ['x'], { a: {} }],
    token: [5],
    callToken: [5],
    callTls: ['x', 0],
    tls: [5],
    onRetry: [5],
    onAttempt: ['x'],
    waitWhileWarming: [1],
  },
  infer: {
    signal: [5, {}],
    version: [5],
    id: [5],
    parameters: [5, []],
    outputs: ['x', [5]],
    raw: ['x'],
    retryOnFailure: [1],
  },
  inferStream: { fallBackToUnary: ['x'], signal: [5], version: [5] },
  modelReady: { signal: [5], version: [5] },
  close: { signal: [5] },
  openaiBackend: {
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
  llamaBackend: { path: [undefined, 5], name: [5], embeddings: [5], capabilities: [5], log: [5] },
  capability: { name: [5, null], version: [1], inputs: ['x'], outputs: [5] },
};

const TYPED_CASES = Object.entries(TYPED).flatMap(([name, options]) =>
  Object.entries(options).flatMap(([option, values]) => values.map((value) => [name, option, value] as const)),
);

const NAMES = Object.keys(FUNCTIONS);
const CAPPED: ReadonlySet<string> = new Set(['openaiBackend']);

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
    ['startWorker', 'maxMessageBytes'],
    ['openaiBackend', 'timeoutMs'],
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
