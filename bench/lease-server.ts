/**
 * Process with the API server of a benchmark, or with its baseline: a bare node:http server that holds the same streams,
 * sends the same heartbeats, and only knows whether any stream is open.
 */
import { createServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { ALIVE_EVENT } from '../src/api/lease-events.js';
import type { SerializedReplica } from '../src/api/serialized-replica.js';
import { Registry } from '../src/core/registry.js';
import type { ServerTls } from '../src/core/tls.js';
import { startHttpApi } from '../src/server/api-server.js';
import { RegistryParts } from '../src/server/registry-parts.js';
import { MemoryStore } from '../src/store/memory-store.js';
import { clock, ids, random } from '../src/system.js';
import { createAuthority } from '../test/support/certificates.js';
import { answerQuestions } from './child-process.js';
import { OWN_USAGE } from './own-usage.js';

const SILENT = { emit: () => {}, subscribe: () => () => {} };

async function anyserve(heartbeatMs: number, tls: ServerTls | undefined): Promise<number> {
  const registry = new Registry({
    store: new MemoryStore<SerializedReplica>(ids.createRegistryId()),
    clock,
    random,
    ids,
    events: SILENT,
  });
  const times = { heartbeatMs, ackTimeoutMs: 3000, warmingMs: 0 };
  const where = { host: '127.0.0.1', port: 0, tls: tls && (() => tls) };
  return (
    await startHttpApi({
      parts: new RegistryParts({ registry, events: SILENT, clock, random, ids }),
      clock,
      events: SILENT,
      ...times,
      ...where,
    })
  ).port;
}

function bare(heartbeatMs: number, tls: ServerTls | undefined): Promise<number> {
  let open = 0;
  const listener: RequestListener = (request, response) => {
    request.resume();
    if (request.method === 'GET') {
      const [status, body] = open > 0 ? [200, '{"open":true}'] : [404, '{"open":false}'];
      return void response.writeHead(status, { 'content-length': body.length }).end(body);
    }
    if (request.method === 'PUT') {
      const body = '{"status":"renewed"}';
      return void response
        .writeHead(200, { 'content-length': body.length, 'content-type': 'application/json' })
        .end(body);
    }
    response.writeHead(200, {
      'cache-control': 'no-cache',
      'content-type': 'text/event-stream',
      'x-anyserve-lease': 'lease',
    });
    response.write(ALIVE_EVENT);
    const timer = setInterval(() => response.write(ALIVE_EVENT), heartbeatMs);
    open++;
    response.once('close', () => {
      clearInterval(timer);
      open--;
    });
  };
  const server = tls ? createHttpsServer(tls, listener) : createServer(listener);
  return new Promise((resolve) => {
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => resolve((server.address() as AddressInfo).port));
  });
}

answerQuestions(OWN_USAGE);
const [kind, heartbeatMs, scheme] = process.argv.slice(2);
const tls = scheme === 'https' ? createAuthority().sign('server') : undefined;
console.log(await (kind === 'bare' ? bare : anyserve)(Number(heartbeatMs), tls));
