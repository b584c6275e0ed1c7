import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import {
  Server as GrpcServer,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import { toConnectionError } from '../../src/client/connection-errors.js';
import { createGrpcProbe } from '../../src/client/grpc-probe.js';
import { createHttpProbe, createTcpProbe, type Probe, toProbeError, toProbeUrl } from '../../src/client/probe.js';
import type { AnyserveError } from '../../src/core/errors.js';
import { asEndpoint, type Endpoint } from '../../src/core/ids.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { App } from '../../src/worker/app.js';
import { findFreePort } from '../support/free-port.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs a probe once. Returns undefined when it succeeds, otherwise the error code and message. */
async function runProbe(probe: Probe): Promise<[string, string] | undefined> {
  try {
    return void (await probe(new AbortController().signal));
  } catch (error) {
    const { code, message } = error as AnyserveError;
    return [code, message];
  }
}

async function listen(server: Pick<Server, 'listen' | 'address' | 'close'>): Promise<Endpoint> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return asEndpoint(`127.0.0.1:${(server.address() as AddressInfo).port}`);
}

/** Starts a TCP server that handles each connection with `take`. */
async function startTcpServer(take: (socket: Socket) => void): Promise<{ endpoint: Endpoint; open: Set<Socket> }> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {}).once('close', () => open.delete(socket));
    take(socket);
    // Without resume(), the end of an unread connection would go unnoticed.
    socket.resume();
  });
  const endpoint = await listen(server);
  cleanups.push(() => open.forEach((socket) => void socket.destroy()));
  return { endpoint, open };
}

async function startHttpServer(listener: RequestListener): Promise<Endpoint> {
  return listen(createHttpServer(listener));
}

/** Starts a gRPC server with these services. */
async function startGrpcServer(add: (server: GrpcServer) => void): Promise<Endpoint> {
  const server = new GrpcServer();
  add(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  return asEndpoint(`127.0.0.1:${port}`);
}

/** Handles `ServerReady`. */
const implementServerReady =
  (response: { ready: boolean } | { code: status; details: string }) =>
  (server: GrpcServer): void =>
    server.addService(
      { ServerReady: INFERENCE_SERVICE.serverReady } as unknown as ServiceDefinition,
      {
        ServerReady: (_call: unknown, done: (error: unknown, response?: unknown) => void) =>
          'ready' in response ? done(null, response) : done(response),
      } as unknown as UntypedServiceImplementation,
    );

async function findUnusedEndpoint(): Promise<Endpoint> {
  return asEndpoint(`127.0.0.1:${await findFreePort()}`);
}

describe('the gRPC probe', () => {
  it('checks the health service of a worker', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'echo' }, (inputs) => inputs));
    cleanups.push(() => worker.stop());
    expect(await runProbe(createGrpcProbe(worker.replica.endpoint))).toBeUndefined();
  });

  it('does not repeat a method that the server does not implement, until the server is gone', async () => {
    const paths: string[] = [];
    const server = createHttp2Server().on('stream', (stream, headers) => {
      paths.push(String(headers[':path']).split('/').at(-1) ?? '');
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
    });
    const endpoint = await listen(server);
    const probe = createGrpcProbe(endpoint);
    for (let n = 0; n < 3; n++) expect(await runProbe(probe)).toBeUndefined();
    expect(paths).toEqual(['Check', 'ServerReady']);
    await new Promise((resolve) => server.close(resolve));
    expect((await runProbe(probe))?.[0]).toBe('unavailable');
    server.listen(Number(endpoint.split(':')[1]), '127.0.0.1');
    await runProbe(probe);
    expect(paths).toEqual(['Check', 'ServerReady', 'Check', 'ServerReady']);
  });

  it('checks a model when one is named', async () => {
    const worker = await startTestWorker(new App().capability({ type: 'echo' }, (inputs) => inputs));
    cleanups.push(() => worker.stop());
    const { endpoint } = worker.replica;
    expect(await runProbe(createGrpcProbe(endpoint, { model: 'echo' }))).toBeUndefined();
    expect(await runProbe(createGrpcProbe(endpoint, { model: 'other' }))).toEqual([
      'unavailable',
      `${endpoint}: model "other" is not ready, or the server has no model of that name; see --probe-model`,
    ]);
    const stranger = await startGrpcServer(implementServerReady({ ready: true }));
    expect((await runProbe(createGrpcProbe(stranger, { model: 'echo' })))?.[1]).toContain(
      'model "echo" cannot be checked',
    );
  });

  it('uses only the health service when there is one', async () => {
    const health = new HealthImplementation({ '': 'SERVING' });
    const endpoint = await startGrpcServer((server) => {
      health.addToServer(server);
      implementServerReady({ ready: false })(server);
    });
    const probe = createGrpcProbe(endpoint);
    expect(await runProbe(probe)).toBeUndefined();
    health.setStatus('', 'NOT_SERVING');
    expect(await runProbe(probe)).toEqual(['unavailable', `${endpoint}: the server reports that it is not ready`]);
    health.setStatus('', 'SERVING');
    expect(await runProbe(probe)).toBeUndefined();
  });

  it('calls ServerReady when there is no health service', async () => {
    expect(
      await runProbe(createGrpcProbe(await startGrpcServer(implementServerReady({ ready: true })))),
    ).toBeUndefined();
    const endpoint = await startGrpcServer(implementServerReady({ ready: false }));
    expect(await runProbe(createGrpcProbe(endpoint))).toEqual([
      'unavailable',
      `${endpoint}: the server reports that it is not ready`,
    ]);
  });

  it('succeeds with a connection when the server has neither service, or no gRPC', async () => {
    expect(await runProbe(createGrpcProbe(await startGrpcServer(() => {})))).toBeUndefined();
    const plain = createHttp2Server((_request, response) => response.writeHead(404).end('no'));
    expect(await runProbe(createGrpcProbe(await listen(plain)))).toBeUndefined();
    expect(
      await runProbe(createGrpcProbe(await startHttpServer((_request, response) => response.end()))),
    ).toBeUndefined();
    const greeting = await startTcpServer((socket) => socket.write('220 ready\r\n'));
    expect(await runProbe(createGrpcProbe(greeting.endpoint))).toBeUndefined();
    const echo = await startTcpServer((socket) => socket.pipe(socket));
    expect(await runProbe(createGrpcProbe(echo.endpoint))).toBeUndefined();
  });

  it('leaves no connection at a healthy server', async () => {
    const server = createHttp2Server((_request, response) => response.writeHead(404).end());
    let open = 0;
    server.on('connection', (socket: Socket) => {
      open++;
      socket.once('close', () => open--);
    });
    expect(await runProbe(createGrpcProbe(await listen(server)))).toBeUndefined();
    await until('its connections are closed', () => open === 0);
  });

  it('reports the error that the server returns', async () => {
    const endpoint = await startGrpcServer(implementServerReady({ code: status.UNAVAILABLE, details: 'no GPU' }));
    const method = '/inference.GRPCInferenceService/ServerReady';
    expect(await runProbe(createGrpcProbe(endpoint))).toEqual(['unavailable', `${endpoint}: ${method} failed: no GPU`]);
  });

  it('reports a refused connection as certain', async () => {
    const endpoint = await findUnusedEndpoint();
    expect(await runProbe(createGrpcProbe(endpoint))).toEqual(['unavailable', `${endpoint}: nothing listens there`]);
  });

  it('fails at a server that does not respond, and leaves no connection there', async () => {
    const { endpoint, open } = await startTcpServer(() => {});
    expect(await runProbe(createGrpcProbe(endpoint))).toEqual([
      'deadline_exceeded',
      `${endpoint}: no response in time; if it is not a gRPC server, choose --probe tcp or --probe http`,
    ]);
    await until('its connections are closed', () => open.size === 0);
    const given = new AbortController();
    const looking = createGrpcProbe(endpoint)(given.signal).catch(() => 'given up');
    await until('it checks', () => open.size === 1);
    given.abort();
    expect(await looking).toBe('given up');
    await until('its connections are closed', () => open.size === 0);
  });

  it('fails at a server that closes its connections without a response', async () => {
    const { endpoint } = await startTcpServer((socket) => socket.end());
    expect((await runProbe(createGrpcProbe(endpoint)))?.[1]).toContain(`${endpoint}: the connection was closed`);
  });

  it('fails at a server that no longer speaks gRPC', async () => {
    const port = await findFreePort();
    const endpoint = asEndpoint(`127.0.0.1:${port}`);
    const probe = createGrpcProbe(endpoint);
    const first = new GrpcServer();
    await new Promise((resolve) => first.bindAsync(endpoint, ServerCredentials.createInsecure(), resolve));
    expect(await runProbe(probe)).toBeUndefined();
    first.forceShutdown();
    const second = createHttpServer((_request, response) => response.end());
    await new Promise<void>((resolve) => second.listen(port, '127.0.0.1', resolve));
    cleanups.push(() => second.close());
    expect((await runProbe(probe))?.[0]).toBe('deadline_exceeded');
  });
});

describe('the TCP probe', () => {
  it('succeeds with a connection', async () => {
    const { endpoint } = await startTcpServer(() => {});
    expect(await runProbe(createTcpProbe(endpoint))).toBeUndefined();
    const none = await findUnusedEndpoint();
    expect(await runProbe(createTcpProbe(none))).toEqual(['unavailable', `${none}: nothing listens there`]);
    expect(await runProbe(createTcpProbe(asEndpoint('unix:/no/such.sock')))).toEqual([
      'unavailable',
      'unix:/no/such.sock: no such socket',
    ]);
  });

  it('reports a name that cannot be resolved as uncertain', () => {
    const failure = toConnectionError('gpu7:1', Object.assign(new Error(), { code: 'EAI_AGAIN' }));
    expect(toProbeError(failure)).toMatchObject({ code: 'unknown', message: 'gpu7:1: no such host' });
  });
});

describe('the HTTP probe', () => {
  it.each([
    [200, true],
    [204, true],
    [302, true],
    [399, true],
    [400, false],
    [404, false],
    [503, false],
  ])('considers HTTP %i healthy: %s', async (code, isHealthy) => {
    const endpoint = await startHttpServer(({ url }, response) =>
      response.writeHead(url === '/health' ? code : 500).end(),
    );
    const url = toProbeUrl(endpoint, '/health');
    const failure = ['unavailable', `${url}: responded with HTTP ${code}`];
    expect(await runProbe(createHttpProbe(url))).toEqual(isHealthy ? undefined : failure);
  });

  it('reports why there is no response, and is certain only when the connection is refused', async () => {
    const none = toProbeUrl(await findUnusedEndpoint(), '/health');
    expect(await runProbe(createHttpProbe(none))).toEqual(['unavailable', `${none}: nothing listens there`]);
    const silent = await startTcpServer(() => {});
    expect(await runProbe(createHttpProbe(`http://${silent.endpoint}/`, undefined, 500))).toEqual([
      'unknown',
      `http://${silent.endpoint}/: no response in time`,
    ]);
    await until('its connections are closed', () => silent.open.size === 0);
  });

  it('waits longer for a response than the other probes, because busy engines are slow', async () => {
    const endpoint = await startHttpServer((_request, response) => void setTimeout(() => response.end(), 1200));
    expect(await runProbe(createHttpProbe(`http://${endpoint}/`))).toBeUndefined();
  });

  it('reads no body, and leaves no connection', async () => {
    let open = 0;
    const endpoint = await startHttpServer((request, response) => {
      open++;
      request.socket.once('close', () => open--);
      if (request.url === '/endless') response.write('forever');
      else response.end('short');
    });
    for (const path of ['/endless', '/short']) {
      expect(await runProbe(createHttpProbe(`http://${endpoint}${path}`))).toBeUndefined();
      await until('its connections are closed', () => open === 0);
    }
  });
});

describe('the URL of an HTTP probe', () => {
  it.each([
    ['localhost:8001', '/v2/health/ready', 'http://localhost:8001/v2/health/ready'],
    ['[::1]:8001', '/health', 'http://[::1]:8001/health'],
    ['dns:///gpu7:8001', '/health?deep=1', 'http://gpu7:8001/health?deep=1'],
    ['localhost:8001', 'http://localhost:8000/v2/health/ready', 'http://localhost:8000/v2/health/ready'],
    ['unix:/run/x.sock', 'https://localhost/health', 'https://localhost/health'],
  ])('at %s with %s is %s', (endpoint, path, url) => {
    expect(toProbeUrl(asEndpoint(endpoint), path)).toBe(url);
  });

  it.each([
    ['localhost:8001', 'health', 'give a path like /health, or a complete URL like http://localhost:8000/health'],
    ['localhost:8001', 'http://', 'give a path like /health'],
    ['unix:/run/x.sock', '/health', 'at unix:/run/x.sock; give a complete URL like http://localhost:8000/health'],
  ])('at %s cannot be %s', (endpoint, path, words) => {
    expect(() => toProbeUrl(asEndpoint(endpoint), path)).toThrow(words);
  });
});
