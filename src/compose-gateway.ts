import { ApiClient } from './client/api-client.js';
import type { ServerAccess } from './client/api-servers.js';
import type { PickerName } from './client/client-options.js';
import { HttpCaller, type HttpCallerOptions } from './client/http-calls/http-caller.js';
import { HttpChannels } from './client/http-calls/http-channel.js';
import { LazyInferenceCaller, type LoadedCaller } from './client/lazy-inference-caller.js';
import { ModelFleet } from './client/model-fleet.js';
import { DEFAULTS } from './core/defaults.js';
import { isLoopback } from './core/host.js';
import type { Log } from './core/ports.js';
import type { Selector } from './core/selector.js';
import type { ClientTls } from './core/tls.js';
import type { UpstreamKeys } from './credentials/upstream-keys.js';
import { type Gateway, type GatewaySettings, startGateway } from './gateway/gateway.js';
import { createAddressCheck } from './http/engine-client/address-check.js';
import type { AddressCheck } from './http/engine-client/upstream-address.js';
import { clock, getHostName, ids, random } from './system.js';
import { AttemptCounts } from './telemetry/gateway-metrics.js';
import { findOpenTelemetryTracer } from './telemetry/open-telemetry.js';
import { VERSION } from './version.js';

/** Options of a gateway. */
export interface GatewayOptions extends Omit<GatewaySettings, 'hasAffinity' | 'machineName' | 'version' | 'createId'> {
  readonly servers: readonly string[];
  /** Receives warnings for the operator. */
  readonly log: Log;
  readonly access: ServerAccess;
  /** Replicas that calls can go to. */
  readonly selector: Selector;
  readonly pick: PickerName;
  readonly hedgeAfterMs?: number | undefined;
  readonly upstreamKeys?: (() => UpstreamKeys) | undefined;
  /** Networks of the addresses that are connected to. Empty: all but link-local addresses. */
  readonly upstreamNetworks: readonly string[];
  readonly upstreamTls?: (() => ClientTls) | undefined;
  /** Token for calls of replicas that speak gRPC. */
  readonly callToken?: (() => string) | undefined;
  /** TLS settings for calls of replicas that speak gRPC. Undefined: plain text. */
  readonly callTls?: (() => ClientTls) | undefined;
  /** Called when the gRPC library is loaded, which the first call of a replica that speaks gRPC needs. */
  readonly onGrpcLoad?: (() => Promise<void>) | undefined;
}

/** Warns if others can reach the gateway, and everyone can register a replica, which then receives their prompts. */
async function warnAboutOpenRegistration(
  api: ApiClient,
  { host, log }: Pick<GatewayOptions, 'host' | 'log'>,
): Promise<void> {
  if (isLoopback(host)) return;
  try {
    if (await api.hasOpenRegistration())
      log.warn('the API server accepts replicas without a token, and they receive prompts: see --register-token-file', {
        event: 'registration_unprotected',
      });
  } catch {
    // No server responds yet. The gateway starts without one.
  }
}

/** Loads the code that calls replicas which speak gRPC. */
async function loadInferenceCaller(
  options: GatewayOptions,
  observers: Pick<HttpCallerOptions, 'onAttempt' | 'tracer'>,
  maxMessageBytes: number,
  checkAddress: AddressCheck,
): Promise<LoadedCaller> {
  const { callToken, callTls, hedgeAfterMs, onGrpcLoad } = options;
  const [{ ChannelPool }, { InferenceCaller }] = await Promise.all([
    import('./client/channel-pool.js'),
    import('./client/inference-caller.js'),
    onGrpcLoad?.(),
  ]);
  const channels = new ChannelPool({ maxMessageBytes, clock, token: callToken, tls: callTls, checkAddress });
  const { firstMessageTimeoutMs, streamIdleTimeoutMs } = DEFAULTS;
  const caller = new InferenceCaller({
    ...observers,
    channels,
    maxMessageBytes,
    hedgeAfterMs,
    streamTimeouts: { firstMessageTimeoutMs, streamIdleTimeoutMs },
    clock,
    random,
  });
  return { caller, dropEndpoint: (endpoint) => channels.dropEndpoint(endpoint) };
}

function createHttpChannels({ upstreamKeys, upstreamTls }: GatewayOptions, checkAddress: AddressCheck): HttpChannels {
  return new HttpChannels({
    clock,
    tls: upstreamTls,
    checkAddress,
    getAuthorization: (origin) => {
      const key = upstreamKeys?.().get(origin);
      return key && `Bearer ${key}`;
    },
    firstByteTimeoutMs: DEFAULTS.upstreamTimeoutMs,
    idleTimeoutMs: DEFAULTS.upstreamIdleTimeoutMs,
  });
}

/** Starts a gateway in this process. Resolves when it listens. Throws `usage` for invalid options. */
export async function startHttpGateway(options: GatewayOptions): Promise<Gateway> {
  const { servers, access, selector, pick, hedgeAfterMs, upstreamKeys, upstreamNetworks } = options;
  const maxMessageBytes = Math.max(DEFAULTS.maxMessageBytes, options.maxBodyBytes);
  const checkAddress = createAddressCheck(
    upstreamNetworks,
    '--upstream-allow',
    (origin) => upstreamKeys?.().has(origin) ?? false,
  );
  const channels = createHttpChannels(options, checkAddress);
  const api = new ApiClient({ ...access, servers, clock });
  const attempts = new AttemptCounts();
  const tracer = await findOpenTelemetryTracer(VERSION);
  const observers = { onAttempt: attempts.record, tracer };
  const inferenceCaller = new LazyInferenceCaller(() =>
    loadInferenceCaller(options, observers, maxMessageBytes, checkAddress),
  );
  const fleet = new ModelFleet({
    api,
    query: [],
    selector,
    pick,
    onRemoved: (endpoint) => {
      channels.dropEndpoint(endpoint);
      inferenceCaller.dropEndpoint(endpoint);
    },
    clock,
    random,
  });
  const caller = new HttpCaller({ channels, hedgeAfterMs, ...observers, clock, random });
  void warnAboutOpenRegistration(api, options);
  return startGateway(
    { ...createSettings(options), tracer },
    { fleet, caller, inferenceCaller, attempts },
    { clock, random },
  );
}

function createSettings(options: GatewayOptions): GatewaySettings {
  return {
    ...options,
    hasAffinity: options.pick === 'affinity',
    machineName: getHostName(),
    version: VERSION,
    createId: () => ids.createInstanceId().replaceAll('-', ''),
  };
}
