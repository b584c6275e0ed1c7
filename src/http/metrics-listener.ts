import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock, MetricsSource } from '../core/ports.js';
import { type Listener, startListener } from './listener.js';
import { ConnectionLimit, countOpenFiles } from './open-files.js';
import { parseTarget } from './request-head.js';

/** Starts a server that serves only `GET /metrics`. Resolves when it listens. Throws `failed` if it can't. */
export async function startMetricsListener(
  { host, port, clock }: { readonly host: string; readonly port: number; readonly clock: Clock },
  metrics: MetricsSource,
): Promise<Listener> {
  return startListener(
    { host, port, clock, optionPrefix: 'metrics-' },
    {
      handle: (request, response) => void respond(request, response, metrics),
      formatError: (detail) => JSON.stringify({ detail }),
      connections: new ConnectionLimit(await countOpenFiles()),
    },
  );
}

async function respond(request: IncomingMessage, response: ServerResponse, metrics: MetricsSource): Promise<void> {
  if (parseTarget(request.url ?? '').path !== '/metrics') return void response.writeHead(404).end();
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return void response.writeHead(405, { allow: 'GET' }).end();
  }
  const text = await metrics.render();
  response.writeHead(200, { 'content-type': metrics.contentType }).end(text);
}
