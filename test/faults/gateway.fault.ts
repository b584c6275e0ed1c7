import { readFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { type Running, start, startProgram, stopAll } from '../support/binary.js';
import { type ServerProcess, startServer } from '../support/fleet.js';
import { type RepeatedRequests, repeatRequests } from '../support/repeated-requests.js';
import { until } from '../support/until.js';

const ENGINE = fileURLToPath(new URL('../support/faulty-engine.mjs', import.meta.url));

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

interface Fleet {
  readonly server: ServerProcess;
  readonly gateway: Running;
  readonly url: string;
  readonly engines: readonly Running[];
  readonly agent: Agent;
}

/** Starts an API server, a gateway, and an engine with each of these behaviours, all as processes. */
async function startFleet(behaviours: readonly string[], gatewayArgs: readonly string[] = []): Promise<Fleet> {
  const server = await startServer();
  const engines = behaviours.map((behaviour) => startProgram([process.execPath, ENGINE, behaviour]));
  const registrants = await Promise.all(
    engines.map(async (engine) => {
      const port = await engine.waitForOutput(/listening on (\d+)/);
      return start(['register', '--openai', `http://127.0.0.1:${port}/v1`, '--server', server.url]);
    }),
  );
  await Promise.all(registrants.map((registrant) => registrant.waitForOutput(/registered/)));
  const gateway = start(['gateway', '--port', '0', '--server', server.url, ...gatewayArgs], {
    env: { ANYSERVE_DRAIN: '30s' },
  });
  const url = (await gateway.waitForOutput(/listening on (\S+)/)).replace(/\/v1$/, '');
  await until('the gateway knows the model', async () =>
    (await (await fetch(`${url}/v1/models`)).text()).includes('"m"'),
  );
  const agent = new Agent({ keepAlive: true });
  cleanups.push(() => agent.destroy());
  return { server, gateway, url, engines, agent };
}

interface CallResult {
  readonly status: number;
  readonly body: string;
  /** Whether the response has ended as HTTP says. */
  readonly isComplete: boolean;
}

/** Makes a call. Rejects only without a response. */
function call({ url, agent }: Fleet, body: object = {}, onData: () => void = () => {}): Promise<CallResult> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${url}/v1/chat/completions`, { method: 'POST', agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => {
        text += piece;
        onData();
      });
      const finish = (): void =>
        resolve({ status: response.statusCode ?? 0, body: text, isComplete: response.complete });
      response.on('error', () => {}).on('close', finish);
    });
    sent.on('error', reject);
    sent.end(JSON.stringify({ model: 'm', ...body }));
  });
}

/** Makes calls until they are stopped. A response that is not a whole success counts as a failure. */
function repeatCalls(fleet: Fleet, perSecond: number): RepeatedRequests {
  const requests = repeatRequests(perSecond, async () => {
    const { status, body, isComplete } = await call(fleet);
    if (status !== 200 || !isComplete || !body.endsWith('}')) throw new Error(`${status} ${isComplete} ${body}`);
  });
  cleanups.push(() => requests.stop());
  return requests;
}

/** Starts streams, and resolves when each has begun. */
async function openStreams(fleet: Fleet, count: number): Promise<Promise<CallResult>[]> {
  const begun = new Set<number>();
  const streams = Array.from({ length: count }, (_, n) => call(fleet, { stream: true }, () => begun.add(n)));
  await until('all streams have begun', () => begun.size === count);
  return streams;
}

const isWhole = ({ body, isComplete }: CallResult): boolean => isComplete && body.endsWith('data: [DONE]\n\n');

describe('a gateway with four engines', () => {
  it('fails no call when one is killed at 100 calls/s, and no broken stream looks complete', async () => {
    const fleet = await startFleet(['good', 'good', 'good', 'good']);
    const calls = repeatCalls(fleet, 100);
    const streams = await openStreams(fleet, 20);
    await until('calls are made', () => calls.getCount() > 100);
    await fleet.engines[0]?.stop('SIGKILL');
    const results = await Promise.all(streams);
    await calls.stop();
    const broken = results.filter((result) => !isWhole(result));
    console.info(`measured: ${calls.getCount()} calls; ${broken.length} of 20 streams broke`);
    expect(calls.failures).toEqual([]);
    expect(broken.length).toBeGreaterThan(0);
    for (const { body, isComplete } of broken) {
      expect(isComplete).toBe(false);
      expect(body).toMatch(/event: error\ndata: \{"error":.*\}\n\n$/);
      expect(body).not.toContain('[DONE]');
    }
  });

  it.each([
    ['an API server', false],
    ['no API server', true],
  ])('moves calls within 15 s when one freezes: with %s', async (_with, isServerGone) => {
    const fleet = await startFleet(['good', 'good', 'good', 'good']);
    const calls = repeatCalls(fleet, 100);
    await until('calls are made', () => calls.getCount() > 100);
    if (isServerGone) await fleet.server.running.stop('SIGKILL');
    fleet.engines[0]?.child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    await calls.stop();
    fleet.engines[0]?.child.kill('SIGCONT');
    console.info(`measured: ${calls.getCount()} calls, the longest took ${Math.round(calls.getLongestMs())} ms`);
    expect(calls.failures).toEqual([]);
    expect(calls.getLongestMs()).toBeLessThan(15_000);
  });

  it('goes on while no API server is there', async () => {
    const fleet = await startFleet(['good', 'good', 'good', 'good']);
    await fleet.server.running.stop('SIGKILL');
    const calls = repeatCalls(fleet, 100);
    await new Promise((resolve) => setTimeout(resolve, 15_000));
    await calls.stop();
    expect(calls.failures).toEqual([]);
    expect((await fetch(`${fleet.url}/readyz`)).status).toBe(200);
  });

  it('fails no call when engines close idle connections at random', async () => {
    const fleet = await startFleet(['closes', 'closes', 'closes', 'closes']);
    const calls = repeatCalls(fleet, 200);
    await until('1000 calls are made', () => calls.getCount() > 1000);
    await calls.stop();
    console.info(`measured: ${calls.getCount()} calls`);
    expect(calls.failures).toEqual([]);
  });
});

describe('a gateway with a good engine and one that responds', () => {
  it.each(['garbage', 'too short', 'too long', 'endless headers', 'continue', 'http 1.0'])(
    'with %s fails no call',
    async (behaviour) => {
      const fleet = await startFleet(['good', behaviour]);
      const calls = repeatCalls(fleet, 50);
      await until('200 calls are made', () => calls.getCount() > 200);
      await calls.stop();
      expect(calls.failures).toEqual([]);
    },
  );
});

/**
 * Number of slow readers, and the maximum growth of resident memory: what V8 leaves uncollected of memory outside of its heap, and for each
 * reader what a socket reads at once, twice.
 */
const SLOW_READERS = 200;
const MAX_GROWTH_BYTES = 64 * 2 ** 20 + SLOW_READERS * 2 * 64 * 1024;

/** Opens a stream and reads at most 64 KB of it every half second, which is far less than the engine sends. */
function readSlowly(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const body = JSON.stringify({ model: 'flood', stream: true });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  const timer = setInterval(() => socket.resume(), 500);
  cleanups.push(() => {
    clearInterval(timer);
    socket.removeAllListeners().destroy();
  });
  return new Promise((resolve, reject) => {
    socket.on('error', reject).on('close', () => reject(new Error('a slow reader was disconnected')));
    socket.on('data', () => {
      socket.pause();
      resolve();
    });
  });
}

function readResidentBytes({ child }: Running): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
  return 1024 * Number(kilobytes);
}

it('a gateway with slow readers of fast streams keeps a bounded part of each, and serves other calls', async () => {
  const fleet = await startFleet(['good', 'floods']);
  for (let made = 0; made < 200; made++) await call(fleet);
  const { port } = new URL(fleet.url);
  await until('the gateway knows both models', async () =>
    (await (await fetch(`${fleet.url}/v1/models`)).text()).includes('"flood"'),
  );
  const before = readResidentBytes(fleet.gateway);
  await Promise.all(Array.from({ length: SLOW_READERS }, () => readSlowly(Number(port))));
  const calls = repeatCalls(fleet, 50);
  await new Promise((resolve) => setTimeout(resolve, 15_000));
  await calls.stop();
  const growth = readResidentBytes(fleet.gateway) - before;
  console.info(`measured: ${Math.round(growth / 2 ** 20)} MiB for ${SLOW_READERS} slow readers;`);
  console.info(`${calls.getCount()} other calls, of which the longest took ${Math.round(calls.getLongestMs())} ms`);
  expect(growth).toBeLessThan(MAX_GROWTH_BYTES);
  expect(calls.failures).toEqual([]);
  expect(calls.getLongestMs()).toBeLessThan(2000);
});

it('a gateway that gets SIGTERM finishes its streams, is not ready, and exits with 0', async () => {
  const fleet = await startFleet(['good']);
  const streams = await openStreams(fleet, 20);
  fleet.gateway.child.kill('SIGTERM');
  await until('it is not ready', async () => (await fetch(`${fleet.url}/readyz`)).status === 503);
  const results = await Promise.all(streams);
  expect(results.filter((result) => !isWhole(result))).toEqual([]);
  expect((await fleet.gateway.ended).code).toBe(0);
});
