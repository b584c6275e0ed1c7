import { getErrorMessage } from '../../core/errors.js';
import type { Endpoint } from '../../core/ids.js';
import type { Clock } from '../../core/ports.js';
import { getProtocol } from '../../core/protocol.js';
import type { ClientTls } from '../../core/tls.js';
import { HttpConnections } from '../../http/http-client.js';
import { toConnectionError } from '../connection-errors.js';
import { createGrpcProbe } from '../grpc-probe.js';
import { isHttp1Server } from '../replica-check.js';
import { connectTcp } from '../tcp-connect.js';
import type { CheckResult } from './machine-checks.js';

/** Timeout of each step, in ms. */
const STEP_TIMEOUT_MS = 3000;

/** How to check an endpoint. */
export interface EndpointCheckOptions {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly signal: AbortSignal;
  /** TLS settings for the replicas. Undefined: plaintext, or the defaults for an `https` URL. */
  readonly tls: (() => ClientTls) | undefined;
}

/** Checks whether an endpoint can be reached from here, and whether it speaks the protocol that its form promises. */
export async function checkEndpoint(
  endpoint: Endpoint,
  name: string,
  options: EndpointCheckOptions,
): Promise<CheckResult> {
  const { clock, signal } = options;
  const startedAtMs = clock.nowMs();
  try {
    const protocol = getProtocol(endpoint) === 'http' ? 'HTTP' : 'gRPC';
    await (protocol === 'HTTP' ? checkHttp(endpoint, options) : checkGrpc(endpoint, options));
    const tookMs = Math.round(clock.nowMs() - startedAtMs);
    return { check: 'endpoint', target: name, status: 'ok', detail: `speaks ${protocol}, responds in ${tookMs} ms` };
  } catch (error) {
    signal.throwIfAborted();
    const message = getErrorMessage(error);
    const prefix = `${endpoint}: `;
    const detail = message.startsWith(prefix) ? message.slice(prefix.length) : message;
    return { check: 'endpoint', target: name, status: 'failed', detail };
  }
}

/** Rejects unless a URL responds to HTTP, with any status: an engine can require a key. */
async function checkHttp(url: Endpoint, { tls, signal }: EndpointCheckOptions): Promise<void> {
  const connections = new HttpConnections(tls);
  try {
    const { body } = await connections.send({
      method: 'GET',
      url: `${url}/models`,
      headTimeoutMs: STEP_TIMEOUT_MS,
      signal,
    });
    body.destroy();
  } catch (error) {
    throw toConnectionError(url, error);
  } finally {
    connections.close();
  }
}

async function checkGrpc(endpoint: Endpoint, { tls, signal }: EndpointCheckOptions): Promise<void> {
  await connectTcp(endpoint, STEP_TIMEOUT_MS, signal);
  if (await isHttp1Server(endpoint, { tls: tls?.() })) {
    throw new Error(`it speaks HTTP/1.1, not gRPC; register its URL, such as http://${endpoint}/v1`);
  }
  await createGrpcProbe(endpoint, { tls, requiresHttp2: true })(signal);
}
