import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { formatRegisterRequest, formatRegistrationBody } from '../support/api-server.js';
import { start, stopAll } from '../support/binary.js';
import {
  measureTimeUntil,
  readRemovals,
  type ServerProcess,
  startCurlRegistrant,
  startServer,
} from '../support/fleet.js';
import { repeatRequests } from '../support/repeated-requests.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await stopAll();
});

/** Sends a request over a new connection, which stays open until the end of the test. */
function openConnection(url: string, request: string): { socket: Socket; received: () => string } {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk;
  });
  socket.on('error', () => {});
  socket.write(request);
  cleanups.push(() => socket.destroy());
  return { socket, received: () => received };
}

/** Registers a replica, and resolves with its first event or the refusal. */
async function tryToRegister(
  url: string,
  id: string,
): Promise<{ socket: Socket; isRegistered: boolean; text: string }> {
  const { socket, received } = openConnection(url, formatRegisterRequest(formatRegistrationBody(id)));
  await until('a response has arrived', () => /alive|detail/.test(received()) || socket.closed, 60_000);
  return { socket, isRegistered: received().includes('alive'), text: received() };
}

function readMemoryMb(server: ServerProcess): number {
  const status = readFileSync(`/proc/${server.running.child.pid}/status`, 'utf8');
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024);
}

describe('an API server', () => {
  it('queues the connections of 2,000 replicas that arrive at once while it is busy', async () => {
    const server = await startServer();
    server.running.child.kill('SIGSTOP');
    let connected = 0;
    for (let n = 0; n < 2000; n++) {
      const { socket } = openConnection(server.url, formatRegisterRequest(formatRegistrationBody(`r${n}`)));
      socket.once('connect', () => connected++);
    }
    // While the server is stopped, only connections that fit into its queue are made.
    await until('all are connected', () => connected === 2000);
    server.running.child.kill('SIGCONT');
    await measureTimeUntil('all are registered', 60_000, async () => (await server.listReplicaIds()).length === 2000);
  });

  it('accepts a flood of 10,000 registrations in bounded memory, keeps responding, and keeps the replica it had', async () => {
    const server = await startServer();
    await startCurlRegistrant(server.url, 'stays');
    const before = readMemoryMb(server);
    const sockets: Socket[] = [];
    for (let n = 0; n < 10_000; n += 250) {
      const batch = Array.from({ length: 250 }, (_, index) => tryToRegister(server.url, `flood${n + index}`));
      for (const { socket } of await Promise.all(batch)) sockets.push(socket);
      expect((await server.fetchPath('/route?type=chat')).status).toBe(200);
    }
    const during = readMemoryMb(server);
    console.info(`measured: ${before} MB before, ${during} MB with 10,000 leases`);
    expect(during).toBeLessThan(600);
    expect((await server.listReplicaIds()).length).toBe(10_001);
    for (const socket of sockets) socket.destroy();
    await measureTimeUntil('the flood is gone', 30_000, async () => (await server.listReplicaIds()).join() === 'stays');
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 200 }, () => fetch(`${server.url}/registry`).then((a) => a.text())));
    }
    expect(readMemoryMb(server)).toBeLessThan(600);
    expect(readRemovals(server).filter((line) => line.includes('"stays"'))).toEqual([]);
  });

  it('reports that it runs out of file descriptors, refuses new leases, keeps the existing ones, and recovers', async () => {
    const server = await startServer({ through: ['bash', '-c', 'ulimit -n 256; exec "$@"', 'bash'] });
    await startCurlRegistrant(server.url, 'stays');
    const registrations = [];
    for (let n = 0; n < 230; n++) registrations.push(await tryToRegister(server.url, `r${n}`));
    const refused = registrations.filter(({ isRegistered }) => !isRegistered);
    expect(refused.length).toBeGreaterThan(10);
    for (const { text } of refused) expect(text).toMatch(/^HTTP\/1.1 503 .*retry-after: 5.*of 256 file descriptors/s);
    console.info(`measured: with ulimit -n 256, ${230 - refused.length} leases are granted`);
    const idle = Array.from({ length: 5 }, () => openConnection(server.url, ''));
    const unready = await server.fetchPath('/readyz');
    expect(unready.status).toBe(503);
    expect(unready.body).toMatch(
      /"reasons":\["\d+ of 256 file descriptors are in use; raise the limit with ulimit -n"/,
    );
    expect((await server.listReplicaIds()).length).toBe(231 - refused.length);
    // More connections than file descriptors: silent ones are closed, and existing leases stay.
    const flood = Array.from({ length: 300 }, () => openConnection(server.url, ''));
    await measureTimeUntil('it responds again', 30_000, async () => {
      return server.fetchPath('/livez').then(
        ({ status }) => status === 200,
        () => false,
      );
    });
    for (const { socket } of [...idle, ...flood]) socket.destroy();
    expect((await server.listReplicaIds()).length).toBe(231 - refused.length);
    for (const { socket } of registrations.slice(0, 100)) socket.destroy();
    await measureTimeUntil('it is ready again', 15_000, async () => (await server.fetchPath('/readyz')).status === 200);
    expect((await tryToRegister(server.url, 'again')).isRegistered).toBe(true);
    expect(await server.listReplicaIds()).toContain('stays');
  });
});

describe('a worker that drains', () => {
  it('fails none of 100 calls per second, even without retries', async () => {
    const server = await startServer();
    const clients = new Map<string, InferenceClient>();
    cleanups.push(() => Promise.all([...clients.values()].map((client) => client.close())));
    const startWorker = async (id: string) => {
      const args = ['--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--id', id, '--server', server.url];
      const worker = start(['worker', ...args], { env: { ANYSERVE_DRAIN_DELAY: '5s' } });
      await worker.waitForOutput(/registered /);
      return worker;
    };
    const [drained] = await Promise.all([startWorker('drained'), startWorker('stays')]);
    const calls = repeatRequests(100, async () => {
      const { endpoint } = (await (await fetch(`${server.url}/route?type=chat`)).json()) as { endpoint: string };
      const client = clients.get(endpoint) ?? new InferenceClient({ endpoint }, { clock, random });
      clients.set(endpoint, client);
      await client.infer('chat', { prompt: ['x'] }, { retryOnFailure: false, timeoutMs: 20_000 });
    });
    cleanups.push(() => calls.stop());
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const outcome = await drained.stop('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await calls.stop();
    console.info(`measured: ${calls.getCount()} calls while a worker drained: ${calls.failures.length} failed`);
    expect(outcome.code).toBe(0);
    expect(calls.failures).toEqual([]);
    expect(calls.getCount()).toBeGreaterThan(500);
    expect(await server.listReplicaIds()).toEqual(['stays']);
  });
});
