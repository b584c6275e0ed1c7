import { once } from 'node:events';
import { connect as connectHttp2, createServer, type Http2Server } from 'node:http2';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Client, credentials, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { OpenFiles } from '../../src/http/open-files.js';
import { ConnectionLimits } from '../../src/worker/connection-limits.js';
import { createLargeWindowServer } from '../../src/worker/grpc-js-workarounds.js';
import { ManualClock } from '../support/manual-clock.js';
import { until } from '../support/until.js';

const PLENTY: OpenFiles = { open: 20, limit: 100_000 };

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(files: OpenFiles = PLENTY) {
  const clock = new ManualClock();
  const reasons: (string | undefined)[] = [];
  const limits = new ConnectionLimits({ clock, files, onFull: (reason) => void reasons.push(reason) });
  const server: Http2Server = createServer();
  let connections = 0;
  server.on('session', (session) => {
    connections++;
    session.once('close', () => connections--);
  });
  limits.attach(server);
  const held: (() => void)[] = [];
  server.on('stream', (stream, headers) => {
    const respond = (): void => {
      if (!stream.destroyed) stream.respond({ ':status': 200 }, { endStream: true });
    };
    if (headers[':path'] === '/hold') held.push(respond);
    else respond();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { clock, reasons, port, held, connections: () => connections };
}

function connectTcp(port: number): Socket {
  const socket = connect(port, '127.0.0.1')
    .on('error', () => {})
    .resume();
  cleanups.push(() => socket.destroy());
  return socket;
}

function connectClient(port: number) {
  const session = connectHttp2(`http://127.0.0.1:${port}`).on('error', () => {});
  cleanups.push(() => session.destroy());
  return session;
}

async function request(session: ReturnType<typeof connectClient>, path = '/'): Promise<unknown> {
  const stream = session.request({ ':path': path });
  stream.resume();
  const [headers] = await once(stream, 'response');
  return headers[':status'];
}

describe('ConnectionLimits', () => {
  it('closes a connection that sent nothing for 10 s', async () => {
    const { clock, port, connections } = await startServer();
    const socket = connectTcp(port);
    await until('it exists', () => connections() === 1);
    clock.advance(9000);
    expect(connections()).toBe(1);
    clock.advance(2000);
    await once(socket, 'close');
  });

  it('sends GOAWAY to a connection that sent only the HTTP/2 preface for 10 s', async () => {
    const { clock, port } = await startServer();
    const session = connectClient(port);
    await once(session, 'remoteSettings');
    const goaway = once(session, 'goaway');
    await until('it gets a request', () => {
      clock.advance(1000);
      return session.closed || session.destroyed;
    });
    expect((await goaway).slice(0, 2)).toEqual([0, 0]);
  });

  it('keeps a used connection for 5 min, and for as long as a call is in progress', async () => {
    const { clock, port, held } = await startServer();
    const session = connectClient(port);
    expect(await request(session)).toBe(200);
    clock.advance(4 * 60_000);
    expect(await request(session)).toBe(200);
    clock.advance(4 * 60_000);
    expect(session.closed).toBe(false);
    const responded = request(session, '/hold');
    await until('the call has arrived', () => held.length === 1);
    clock.advance(60 * 60_000);
    held[0]?.();
    expect(await responded).toBe(200);
    await until('it is asked to disconnect', () => {
      clock.advance(60_000);
      return session.closed || session.destroyed;
    });
  });

  it('closes connections without losing a call, however often', async () => {
    const clock = new ManualClock();
    const { server, enlargeWindows } = createLargeWindowServer({});
    const identity = (bytes: Buffer): Buffer => bytes;
    const echo = { path: '/x/echo', requestStream: false, responseStream: false };
    const codec = {
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    };
    server.addService(
      { echo: { ...echo, ...codec } },
      {
        echo: (call: { request: Buffer }, respond: (error: null, bytes: Buffer) => void) => respond(null, call.request),
      },
    );
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    const limits = new ConnectionLimits({ clock, files: PLENTY, onFull: () => {} });
    let connections = 0;
    for (const listener of enlargeWindows()) {
      limits.attach(listener);
      listener.on('session', () => connections++);
    }
    const callers = Array.from({ length: 4 }, () => new Client(`127.0.0.1:${port}`, credentials.createInsecure()));
    cleanups.push(() => server.forceShutdown());
    cleanups.push(() => callers.map((caller) => caller.close()));
    let at = 0;
    let calls = 0;
    while (connections < 40) {
      // Not while a call opens a connection, which has 10 s for that, and not after the acknowledgement timeout.
      clock.advance(301_000);
      await Promise.all(
        callers.map(async (caller) => {
          // Between two calls of other callers, so that closing and calling overlap in every way.
          for (let turns = at++ % 7; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
          const response = await new Promise((resolve, reject) =>
            caller.makeUnaryRequest('/x/echo', identity, identity, Buffer.of(7), (error, bytes) =>
              error ? reject(error) : resolve(bytes),
            ),
          );
          expect(response).toEqual(Buffer.of(7));
          calls++;
        }),
      );
    }
    expect(calls).toBeGreaterThan(30);
  });

  it('closes connections that do not acknowledge', async () => {
    const { clock, port, connections } = await startServer();
    const socket = connectTcp(port);
    // The preface and empty settings, then nothing.
    socket.write(
      Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]),
    );
    await until('it exists', () => connections() === 1);
    const closed = once(socket, 'close');
    await until('it is closed', () => {
      clock.advance(1000);
      return connections() === 0;
    });
    await closed;
  });

  it('reports a number of connections close to the open-files limit, and again after it has dropped', async () => {
    // Of 256 files, 32 are reserved for other uses and 8 for probing, and 20 are already open.
    const { clock, reasons, port, connections } = await startServer({ open: 20, limit: 256 });
    const sockets = Array.from({ length: 196 }, () => connectTcp(port));
    await until('all are listed', () => connections() === 196);
    expect(reasons).toEqual([]);
    sockets.push(connectTcp(port));
    await until('it is reported', () => reasons.length === 1);
    expect(reasons[0]).toContain('217 of 256 file descriptors are in use; raise the limit with ulimit -n');
    for (let second = 0; second < 12; second++) clock.advance(1000);
    await until('there is capacity', () => reasons.length === 2);
    expect(reasons[1]).toBeUndefined();
  });
});
