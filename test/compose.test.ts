import { describe, expect, it } from 'vitest';
import { Client, connectOpenaiBackend, loadLlamaBackend, startApiServer, startWorker } from '../src/index.js';
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
};

const CASES = Object.values(FUNCTIONS).flatMap(({ call, options }, at) =>
  options.flatMap((option) =>
    [-1, Number.NaN, Number.POSITIVE_INFINITY, '5' as never]
      // An infinite timeout of a call is capped at the longest delay of a timer.
      .filter((value) => option !== 'timeoutMs' || at !== 2 || value !== Number.POSITIVE_INFINITY)
      .map((value) => [Object.keys(FUNCTIONS)[at] as string, option, value as number, call] as const),
  ),
);

describe('the library', () => {
  it.each(CASES)('%s refuses %s: %s and names the option', async (_name, option, value, call) => {
    await expect(call({ [option]: value })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(new RegExp(`^option ${option}: ${value} is not `)),
    });
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
