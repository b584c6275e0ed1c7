import { formatAuthority, toSocketAddress } from '../core/endpoint.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { HEALTH_CHECK_TIMEOUT_MS } from '../core/health.js';
import type { Endpoint } from '../core/ids.js';
import type { ClientTls } from '../core/tls.js';
import { HttpConnections } from '../http/http-client.js';
import { toConnectionError } from './connection-errors.js';
import { connectTcp } from './tcp-connect.js';

/**
 * Checks a server once over a new connection, because callers will open new connections too. Rejects with the endpoint and
 * the reason if the server isn't healthy: with `unavailable` if it is certainly down, else with another code.
 */
export type Probe = (signal: AbortSignal) => Promise<void>;

/** Timeout of a probe, in ms. Slightly less than that of the health check, so that the probe's own reason is reported. */
export const PROBE_RESPONSE_TIMEOUT_MS = HEALTH_CHECK_TIMEOUT_MS - 100;

/**
 * Timeout of an HTTP probe, in ms. Busy engines take more than a second, and SGLang does by design. Source:
 * docs/engines.md, "Health".
 */
export const HTTP_PROBE_TIMEOUT_MS = 10_000;

/** Creates a probe that succeeds if the endpoint accepts a TCP connection. */
export function createTcpProbe(endpoint: Endpoint): Probe {
  return async (signal) => {
    try {
      await connectTcp(endpoint, PROBE_RESPONSE_TIMEOUT_MS, signal);
    } catch (error) {
      throw toProbeError(error);
    }
  };
}

/** Creates a probe that succeeds if a GET request gets a status from 200 to 399, as in Kubernetes. */
export function createHttpProbe(url: string, tls?: () => ClientTls, timeoutMs = HTTP_PROBE_TIMEOUT_MS): Probe {
  return async (signal) => {
    const connections = new HttpConnections(tls);
    try {
      const { status, body } = await connections.send({ method: 'GET', url, headTimeoutMs: timeoutMs, signal });
      body.destroy();
      if (status < 200 || status > 399) throw new AnyserveError('unavailable', `${url}: responded with HTTP ${status}`);
    } catch (error) {
      throw error instanceof AnyserveError ? error : toProbeError(toConnectionError(url, error));
    } finally {
      connections.close();
    }
  };
}

/** Converts a path to a URL at the endpoint's host and port. Returns a complete URL unchanged. Throws `usage`. */
export function toProbeUrl(endpoint: Endpoint, path: string): string {
  if (/^https?:\/\//.test(path) && URL.canParse(path)) return path;
  const authority = toUrlAuthority(endpoint);
  const url = `${/^https:/i.test(endpoint) ? 'https' : 'http'}://${authority}${path}`;
  if (authority !== undefined && path.startsWith('/') && URL.canParse(url)) return url;
  const advice = `give ${authority === undefined ? '' : 'a path like /health, or '}a complete URL like http://localhost:8000/health`;
  throw new AnyserveError(
    'usage',
    `--probe-path ${JSON.stringify(path)} cannot be requested at ${endpoint}; ${advice}`,
  );
}

/** Formats an endpoint's host and port for a URL. Returns undefined for a Unix domain socket. */
export function toUrlAuthority(endpoint: Endpoint): string | undefined {
  const address = toSocketAddress(endpoint);
  if ('path' in address) return undefined;
  return formatAuthority(address.host, address.port);
}

/** System errors that mean that nothing listens at the endpoint. */
const NOT_LISTENING_CODES: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);

/**
 * Converts the error of a failed connection into that of a probe. Only if nothing listens there is the server certainly
 * down. A failed name lookup or a missing route says nothing about the server, and must not unlist many servers at once.
 */
export function toProbeError(error: unknown): unknown {
  const { code } = ((error as Error).cause ?? {}) as { code?: unknown };
  if (typeof code !== 'string' || NOT_LISTENING_CODES.has(code)) return error;
  return new AnyserveError('unknown', getErrorMessage(error), { cause: error });
}
