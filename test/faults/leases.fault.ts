import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatRegisterRequest, formatRegistrationBody } from '../support/api-server.js';
import { start, startProgram, stopAll } from '../support/binary.js';
import {
  assertHolds,
  measureTimeUntil,
  type ServerProcess,
  startCurlRegistrant,
  startServer,
} from '../support/fleet.js';
import { until } from '../support/until.js';

/** Python program that sends a request from a socket with the smallest possible receive buffer, and never reads. */
const READS_NOTHING = `import json, socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
s.connect(('127.0.0.1', int(sys.argv[1])))
s.sendall(json.loads(sys.argv[2]).encode())
time.sleep(600)`;

let server: ServerProcess;
const sockets = new Set<Socket>();

beforeEach(async () => {
  server = await startServer();
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await stopAll();
});

/** Opens a lease over a bare socket, and resolves when the server confirms the registration. Calls `onSent` before that. */
async function register(id: string, onSent: () => void = () => {}): Promise<Socket> {
  const socket = connect({ port: Number(new URL(server.url).port), host: '127.0.0.1', allowHalfOpen: true });
  sockets.add(socket);
  socket.once('close', () => sockets.delete(socket));
  socket.on('error', () => {});
  socket.write(formatRegisterRequest(formatRegistrationBody(id)), onSent);
  await new Promise<void>((resolve, reject) => {
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk;
      if (received.includes('registered')) resolve();
    });
    socket.once('close', () => reject(new Error(`${id} is not registered: ${received}`)));
  });
  return socket;
}

describe('the registrations of one id', () => {
  it('never get lost, although the older connection closes just as the newer one arrives', async () => {
    let held = await register('r1');
    for (let n = 0; n < 1000; n++) {
      const older = held;
      const close = [() => older.destroy(), () => older.resetAndDestroy(), () => older.end()][n % 3] as () => void;
      // Closes before the newer request, at the same time, or right after it.
      const moment = n % 4;
      if (moment === 0) close();
      held = await register('r1', moment === 1 ? close : moment === 2 ? () => setImmediate(close) : undefined);
      if (moment === 3) close();
      for (let look = 0; look < 2; look++) {
        const list = await (await fetch(`${server.url}/registry`)).text();
        expect(list, `after ${n} races`).toContain('"r1"');
      }
    }
    await assertHolds('the last one is in the list', 1000, async () => (await server.listReplicaIds()).join() === 'r1');
    held.destroy();
    await measureTimeUntil('the last one is gone', 1000, async () => (await server.listReplicaIds()).length === 0);
  });

  it('from two processes cause one takeover, after which the loser stands by', async () => {
    const place = ['--id', 'r1', '--endpoint', 'a.test:1', '--cap', 'type=chat', '--server', server.url];
    const first = start(['register', ...place]);
    await first.waitForOutput(/registered/);
    const second = start(['register', ...place]);
    await second.waitForOutput(/registered/);
    await assertHolds('r1 is in the list', 20_000, async () => (await server.listReplicaIds()).join() === 'r1');
    const takeovers = server.running.stderr().split('superseded').length - 1;
    console.info(`measured: two processes with one id, 20 s: ${takeovers} takeovers`);
    expect(takeovers).toBeLessThanOrEqual(2);
  });
});

describe('a lease', () => {
  it('ends when its registrant half-closes the connection', async () => {
    const socket = await register('r1');
    socket.end();
    await measureTimeUntil('r1 is gone', 1000, async () => (await server.listReplicaIds()).length === 0);
  });

  it('ends when its registrant is killed', async () => {
    const registrant = await startCurlRegistrant(server.url, 'r1');
    registrant.child.kill('SIGKILL');
    await measureTimeUntil('r1 is gone', 1000, async () => (await server.listReplicaIds()).length === 0);
  });

  it('ends when its registrant has kept the TCP window closed for more than 3 s; other leases stay', async () => {
    await server.running.stop();
    server = await startServer({ args: ['--heartbeat', '10ms'] });
    await startCurlRegistrant(server.url, 'reads');
    const request = JSON.stringify(formatRegisterRequest(formatRegistrationBody('reads-nothing')));
    startProgram(['python3', '-c', READS_NOTHING, new URL(server.url).port, request]);
    await until('it is registered', async () => (await server.listReplicaIds()).includes('reads-nothing'));
    await measureTimeUntil('it is gone', 60_000, async () => (await server.listReplicaIds()).join() === 'reads');
    expect(server.running.stderr()).toContain('removed "reads-nothing": unacknowledged');
    expect(server.running.stderr()).not.toContain('removed "reads":');
  });
});
