import { createRequestError, serializeOpenaiError } from '../client/http-calls/openai-error.js';
import type { Clock, Random } from '../core/ports.js';
import { type ListenerOptions, startListener } from '../http/listener.js';
import { ConnectionLimit, countOpenFiles } from '../http/open-files.js';
import type { MetricsSnapshot } from '../telemetry/process-metrics.js';
import { type DrainTimes, type FrontSettings, GatewayFront, type GatewayUpstream } from './gateway-front.js';

/** Settings of a gateway. */
export interface GatewaySettings extends Pick<ListenerOptions, 'host' | 'port' | 'tls'>, FrontSettings {}

/** A gateway that listens. */
export interface Gateway {
  readonly url: string;
  readonly port: number;
  /** Returns the metrics of this process. */
  readMetrics(): Promise<MetricsSnapshot>;
  /** Reports that it is not ready, lets calls arrive and finish for these times, and closes all connections. */
  close(drain?: DrainTimes): Promise<void>;
}

/** Timeout for receiving the head of a request, and for all of it, in ms. A large body over a slow connection takes minutes. */
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 600_000;

/** Starts a gateway. Resolves when it accepts requests. Throws `failed` when it can't listen on the address. */
export async function startGateway(
  settings: GatewaySettings,
  upstream: GatewayUpstream,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<Gateway> {
  const front = new GatewayFront(settings, upstream, clock, random);
  const connections = new ConnectionLimit(await countOpenFiles());
  const listener = await startListener(
    {
      ...settings,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      headTimeoutMs: HEAD_TIMEOUT_MS,
      // An engine can take minutes. A caller that doesn't read is found by the relay.
      idleTimeoutMs: 0,
      clock,
    },
    {
      handle: (request, response) => front.handle(request, response),
      checksHead: true,
      formatError: (detail) => serializeOpenaiError(createRequestError(detail)),
      connections,
    },
  );
  front.setAddress(listener.address);
  upstream.fleet.start();
  return {
    url: listener.url,
    port: listener.port,
    readMetrics: () => front.readMetrics(),
    async close(drain = {}) {
      await front.drain(listener, drain);
      await listener.close();
      upstream.caller.close();
      upstream.inferenceCaller.close();
      upstream.fleet.close();
    },
  };
}
