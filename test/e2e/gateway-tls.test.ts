import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import { afterAll, expect, it } from 'vitest';
import { registerEngine, startTestApiServer } from '../support/api-server.js';
import { start, stopAll } from '../support/binary.js';
import { createAuthority } from '../support/certificates.js';
import { closeAfterEach } from '../support/close-after-each.js';

const keep = closeAfterEach();

afterAll(stopAll);

const authority = createAuthority();
const certificate = authority.sign('server');

/** Number of callers at the same time. */
const CALLERS = 16;
const CALLS_PER_CALLER = 200;

const BODY = JSON.stringify({ text: 'x'.repeat(20_000) });

const respond: RequestListener = (request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': BODY.length });
  response.end(BODY);
};

/** Starts a gateway in front of an engine. Returns its URL, and a function that counts the connections to the engine. */
async function startGateway(engineUsesTls: boolean, ...options: readonly string[]) {
  const engine = engineUsesTls ? createTlsServer(certificate, respond) : createServer(respond);
  let connections = 0;
  engine.on('connection', () => connections++);
  await once(engine.listen(0, '127.0.0.1'), 'listening');
  keep({
    close: () => {
      engine.close();
      engine.closeAllConnections();
    },
  });
  const server = keep(await startTestApiServer());
  const { port } = engine.address() as AddressInfo;
  await registerEngine(server, 'engine', `${engineUsesTls ? 'https' : 'http'}://localhost:${port}/v1`, [
    { model: 'm' },
  ]);
  const gateway = start(['gateway', '--port', '0', '--server', server.url, ...options], {
    env: { NODE_EXTRA_CA_CERTS: authority.certFile },
  });
  const url = await gateway.waitForOutput(/listening on (https?:\S+)\/v1/);
  return { url, countConnections: () => connections };
}

it('accepts the next request of a caller with TLS as soon as the caller has the previous response', async () => {
  const { url } = await startGateway(false, '--tls-cert', certificate.certFile, '--tls-key', certificate.keyFile);
  /** Makes calls over one connection. Each is sent in two TLS records, as HTTP libraries of Python do. Returns the statuses. */
  const makeCalls = async (): Promise<string[]> => {
    const socket = connect({ port: Number(new URL(url).port), host: 'localhost', ca: authority.cert });
    socket.setNoDelay(true);
    const statuses: string[] = [];
    let received = '';
    const send = (): void => {
      received = '';
      const body = '{"model":"m"}';
      const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
      socket.write(`${head}Content-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    };
    socket.on('secureConnect', send);
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      if (!received.endsWith('}')) return;
      statuses.push(received.slice(9, 12));
      if (statuses.length === CALLS_PER_CALLER) socket.end();
      else send();
    });
    await once(socket, 'close');
    return statuses;
  };
  const statuses = await Promise.all(Array.from({ length: CALLERS }, makeCalls));
  expect(statuses.flat()).toEqual(Array(CALLERS * CALLS_PER_CALLER).fill('200'));
});

it('reuses connections to an engine with TLS', async () => {
  const { url, countConnections } = await startGateway(true);
  const makeCalls = async (): Promise<void> => {
    for (let call = 0; call < CALLS_PER_CALLER; call++) {
      const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', body: '{"model":"m"}' });
      expect([response.status, (await response.text()).length]).toEqual([200, BODY.length]);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, makeCalls));
  // Without reuse there would be one for each call. A few can be lost on a busy machine.
  expect(countConnections()).toBeLessThanOrEqual(CALLERS + 4);
});
