import { toSocketAddress } from '../core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { HEALTH_CHECK_TIMEOUT_MS } from '../core/health.js';
import type { Endpoint } from '../core/ids.js';
import type { ClientTls } from '../core/tls.js';
import { HttpConnections } from '../http/http-client.js';
import { connectTcp, toConnectionError } from './tcp-connect.js';

/**
 * Looks at a server once, over a connection of its own, because new ones are what its callers will want. Rejects with
 * what is wrong and where: with `unavailable` if that is certain, with another code if it may pass.
 */
export type Probe = (signal: AbortSignal) => Promise<void>;

/** How long a probe waits: a little less than a look may take, so that the reason told is its own. */
export const PROBE_RESPONSE_TIMEOUT_MS = HEALTH_CHECK_TIMEOUT_MS - 100;

/** Timeout of an HTTP probe, in ms: engines that are busy, and SGLang by design, take more than a second. Source: docs/engines.md, "Health". */
export const HTTP_PROBE_TIMEOUT_MS = 10_000;

/** Healthy: something takes a connection. */
export function createTcpProbe(endpoint: Endpoint): Probe {
  return async (signal) => {
    try {
      await connectTcp(endpoint, PROBE_RESPONSE_TIMEOUT_MS, signal);
    } catch (error) {
      throw toProbeError(error);
    }
  };
}

/** Healthy: a GET is answered with a status from 200 to 399, as Kubernetes has it. */
export function createHttpProbe(url: string, tls?: () => ClientTls, limitMs = HTTP_PROBE_TIMEOUT_MS): Probe {
  return async (signal) => {
    const connections = new HttpConnections(tls);
    try {
      const { status, body } = await connections.send({ method: 'GET', url, headTimeoutMs: limitMs, signal });
      body.destroy();
      if (status < 200 || status > 399) throw new AnyserveError('unavailable', `${url}: answers HTTP ${status}`);
    } catch (error) {
      throw error instanceof AnyserveError ? error : toProbeError(toConnectionError(url, error));
    } finally {
      connections.close();
    }
  };
}

/** The URL of a path at an endpoint's host and port; a whole URL stands for itself. Throws `usage`. */
export function toProbeUrl(endpoint: Endpoint, path: string): string {
  if (/^https?:\/\//.test(path) && URL.canParse(path)) return path;
  const authority = toUrlAuthority(endpoint);
  const url = `${/^https:/i.test(endpoint) ? 'https' : 'http'}://${authority}${path}`;
  if (authority !== undefined && path.startsWith('/') && URL.canParse(url)) return url;
  const advice = `give ${authority === undefined ? '' : 'a path like /health, or '}a whole URL like http://localhost:8000/health`;
  throw new AnyserveError('usage', `--probe-path ${JSON.stringify(path)} cannot be asked at ${endpoint}; ${advice}`);
}

/** An endpoint's host and port as a URL has them; undefined for a socket that has none. */
export function toUrlAuthority(endpoint: Endpoint): string | undefined {
  const address = toSocketAddress(endpoint);
  if ('path' in address) return undefined;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** What the system says when nobody takes connections there. */
const CERTAIN: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);

/**
 * A failed connection as a probe tells it. Only that nobody is there is certain; a name that cannot be looked up or a
 * route that is missing says nothing of the server, and must not take many out of the list at once.
 */
export function toProbeError(error: unknown): unknown {
  const { code } = ((error as Error).cause ?? {}) as { code?: unknown };
  if (typeof code !== 'string' || CERTAIN.has(code)) return error;
  return new AnyserveError('unknown', getErrorMessage(error), { cause: error });
}
