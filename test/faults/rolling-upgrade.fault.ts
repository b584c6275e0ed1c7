import { mkdtempSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { Client } from '../../src/index.js';
import { type Running, start, stopAll } from '../support/binary.js';
import { findFreePort } from '../support/free-port.js';
import { type RepeatedRequests, repeatRequests } from '../support/repeated-requests.js';
import { until } from '../support/until.js';

const ENGINE = fileURLToPath(new URL('../support/faulty-engine.mjs', import.meta.url));

/** Number of messages of a stream of the text model, which takes two seconds. */
const STREAM_MESSAGES = 41;

const TEXT_MODEL = `export default (app) => app.capability({ type: 'chat', model: 'm' }, async function* (inputs, { streaming }) {
  for (let n = 0; streaming && n < ${STREAM_MESSAGES - 1}; n++) {
    yield { text: [n + ' '] };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  yield { text: ['end'] };
});`;

/** Time between two health checks of the gateways. */
const HEALTH_CHECK_MS = 1000;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

/** A process of the fleet that is started with the same command line again. */
class Role {
  readonly #args: readonly string[];
  readonly #started: RegExp;
  #running: Running | undefined;

  constructor(args: readonly string[], started: RegExp) {
    this.#args = args;
    this.#started = started;
  }

  async start(): Promise<void> {
    // The defaults of the roles, as for a user.
    const env = { ANYSERVE_DRAIN_DELAY: undefined, ANYSERVE_DRAIN: undefined, ANYSERVE_WARMING: undefined };
    this.#running = start(this.#args, { env });
    const { stdout, stderr } = this.#running;
    await until(
      () => `${this.#args.join(' ')} has started; so far: ${stdout()}${stderr()}`,
      () => this.#started.test(stdout() + stderr()),
    );
  }

  /** Stops the process, starts it again, and returns how long the stop took, in ms. */
  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    const beganAtMs = performance.now();
    await this.#running?.stop(signal);
    const tookMs = Math.round(performance.now() - beganAtMs);
    await this.start();
    return tookMs;
  }
}

/** The roles of the fleet, by kind, and the addresses that callers use. */
interface Fleet {
  readonly servers: readonly Role[];
  readonly gateways: readonly Role[];
  readonly replicas: readonly Role[];
  readonly serverUrls: readonly string[];
  readonly gatewayUrls: readonly string[];
}

/** Starts two API servers, two gateways, and of one model two workers and two engines. */
async function startFleet(): Promise<Fleet> {
  const [server1, server2, gateway1, gateway2, worker1, worker2, engine1, engine2] = await Promise.all(
    Array.from({ length: 8 }, findFreePort),
  );
  const module = join(mkdtempSync(join(tmpdir(), 'anyserve-fault-')), 'text.mjs');
  writeFileSync(module, TEXT_MODEL);
  const serverUrls = [server1, server2].map((port) => `http://127.0.0.1:${port}`);
  const toServers = serverUrls.flatMap((url) => ['--server', url]);
  const servers = [server1, server2].map((port) => new Role(['serve', '--port', String(port)], /listening on/));
  const gateways = [gateway1, gateway2].map(
    (port) => new Role(['gateway', '--port', String(port), ...toServers], /listening on/),
  );
  const workers = [worker1, worker2].map(
    (port) => new Role(['worker', module, '--port', String(port), ...toServers], /registered/),
  );
  const engines = [
    ['good', engine1],
    ['abrupt', engine2],
  ].map(([behaviour, port]) => {
    const program = ['--', process.execPath, ENGINE, String(behaviour), String(port)];
    return new Role(['register', '--openai', `http://127.0.0.1:${port}/v1`, ...toServers, ...program], /registered/);
  });
  const replicas = [...workers, ...engines];
  await Promise.all([...servers, ...replicas].map((role) => role.start()));
  await Promise.all(gateways.map((role) => role.start()));
  const gatewayUrls = [gateway1, gateway2].map((port) => `http://127.0.0.1:${port}`);
  return { servers, gateways, replicas, serverUrls, gatewayUrls };
}

/** Returns the ids that an API server lists. */
async function listIds(url: string): Promise<string[]> {
  const { replicas } = (await (await fetch(`${url}/registry`)).json()) as { replicas: { replica_id: string }[] };
  return replicas.map(({ replica_id: id }) => id);
}

/** Waits until both API servers list all replicas, and both gateways are ready. */
async function waitForFleet({ serverUrls, gatewayUrls, replicas }: Fleet): Promise<void> {
  for (const url of serverUrls)
    await until(`${url} lists all replicas`, async () => (await listIds(url)).length === replicas.length);
  for (const url of gatewayUrls)
    await until(`${url} is ready`, async () => (await fetch(`${url}/readyz`)).status === 200);
}

/** Sends calls to the gateways as a load balancer does: in turn to those that are ready, elsewhere if a connection is refused. */
class Balancer {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #urls: readonly string[];
  readonly #unready = new Set<string>();
  #turn = 0;
  /** Number of refused connections. */
  refused = 0;

  constructor(urls: readonly string[]) {
    this.#urls = urls;
    const timers = urls.map((url) => this.#checkRepeatedly(url));
    cleanups.push(() => {
      for (const timer of timers) clearInterval(timer);
      this.#agent.destroy();
    });
  }

  /** Waits until calls go to all gateways. */
  async waitForAll(): Promise<void> {
    await until(
      () => `the balancer sees all gateways, not so far: ${[...this.#unready]}`,
      () => this.#unready.size === 0,
    );
  }

  /** Makes a call, and rejects unless its response is a complete success. */
  async call(body: object, isWhole: (text: string) => boolean): Promise<void> {
    const ready = this.#urls.filter((url) => !this.#unready.has(url));
    const first = this.#turn++ % Math.max(1, ready.length);
    for (const url of [...ready.slice(first), ...ready.slice(0, first)]) {
      try {
        const text = await post(`${url}/v1/chat/completions`, body, this.#agent);
        if (!isWhole(text)) throw new Error(`not whole: ${text.slice(-200)}`);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error;
        this.refused++;
      }
    }
    throw new Error(ready.length > 0 ? `no connection is accepted by ${ready}` : 'no gateway is ready');
  }

  /** Checks a gateway at an interval, but not while a check runs: a late response must not replace a newer one. */
  #checkRepeatedly(url: string): NodeJS.Timeout {
    let isRunning = false;
    return setInterval(async () => {
      if (isRunning) return;
      isRunning = true;
      await this.#check(url);
      isRunning = false;
    }, HEALTH_CHECK_MS);
  }

  async #check(url: string): Promise<void> {
    const isReady = await fetch(`${url}/readyz`).then(
      ({ status }) => status === 200,
      () => false,
    );
    if (isReady) this.#unready.delete(url);
    else this.#unready.add(url);
  }
}

/** Sends a request and returns the body of the response. Rejects if its status isn't 200, or if it breaks off. */
function post(url: string, body: object, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { method: 'POST', agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => {
        text += piece;
      });
      response.on('error', reject).on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`status ${response.statusCode}: ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}

const REQUEST = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };

/** Callers by what they do. */
type Callers = Readonly<Record<string, RepeatedRequests>>;

/** Starts calls through the gateways. Each is far shorter than a health check. */
function startGatewayCalls(balancer: Balancer): Callers {
  return { 'gateway calls': repeatRequests(50, () => balancer.call(REQUEST, (text) => text.endsWith('}'))) };
}

/** Starts all other callers: streams through the gateways, and calls and streams of the library. */
async function startOtherCallers(balancer: Balancer, { serverUrls }: Fleet): Promise<Callers> {
  const client = new Client({ server: serverUrls, capability: { model: 'm' } });
  cleanups.push(() => client.close());
  await until('the client knows the workers', async () => (await client.replicas()).length === 2);
  return {
    'gateway streams': repeatRequests(3, () =>
      balancer.call({ ...REQUEST, stream: true }, (text) => text.endsWith('data: [DONE]\n\n')),
    ),
    'library calls': repeatRequests(20, async () => {
      await client.infer('m', { prompt: ['hi'] });
    }),
    'library streams': repeatRequests(3, async () => {
      let count = 0;
      for await (const _message of client.inferStream('m', { prompt: ['hi'] })) count++;
      if (count !== STREAM_MESSAGES) throw new Error(`a stream ended after ${count} messages`);
    }),
  };
}

/** Restarts processes one after the other, as docs/deploy.md says. */
async function restartAll(what: string, roles: readonly Role[], fleet: Fleet, balancer: Balancer): Promise<void> {
  const stopMs: number[] = [];
  for (const role of roles) {
    stopMs.push(await role.restart());
    await waitForFleet(fleet);
    await balancer.waitForAll();
  }
  console.info(`measured: ${what} took ${stopMs.join(', ')} ms to stop`);
}

/** Stops the callers, prints their numbers, and returns their failures. */
async function stopCallers(callers: Callers, balancer: Balancer): Promise<string[]> {
  const failures: string[] = [];
  for (const [what, calls] of Object.entries(callers)) {
    await calls.stop();
    const longestMs = Math.round(calls.getLongestMs());
    const failed = calls.failures.length;
    console.info(`measured: ${failed} of ${calls.getCount()} ${what} failed, the longest took ${longestMs} ms`);
    failures.push(...calls.failures.map((failure) => `${what}: ${failure}`));
  }
  console.info(`measured: ${balancer.refused} connections to gateways were refused`);
  return failures;
}

it('a rolling restart of two API servers, two gateways and four replicas fails no call and breaks no stream', async () => {
  const fleet = await startFleet();
  await waitForFleet(fleet);
  const balancer = new Balancer(fleet.gatewayUrls);
  const callers = { ...startGatewayCalls(balancer), ...(await startOtherCallers(balancer, fleet)) };
  await restartAll('API servers', fleet.servers, fleet, balancer);
  await restartAll('gateways', fleet.gateways, fleet, balancer);
  await restartAll('replicas', fleet.replicas, fleet, balancer);
  expect(await stopCallers(callers, balancer)).toEqual([]);
});

it('gateways without streams, which nothing keeps open, are restarted without a refused connection', async () => {
  const fleet = await startFleet();
  await waitForFleet(fleet);
  const balancer = new Balancer(fleet.gatewayUrls);
  const callers = startGatewayCalls(balancer);
  await restartAll('gateways', fleet.gateways, fleet, balancer);
  expect(await stopCallers(callers, balancer)).toEqual([]);
  expect(balancer.refused).toBe(0);
});
