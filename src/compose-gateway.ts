import { ApiClient } from './client/api-client.js';
import type { ServerAccess } from './client/api-servers.js';
import { ChannelPool } from './client/channel-pool.js';
import type { PickerName } from './client/client-options.js';
import { HttpCaller } from './client/http-calls/http-caller.js';
import { HttpChannels } from './client/http-calls/http-channel.js';
import { InferenceCaller, type InferenceCallerOptions } from './client/inference-caller.js';
import { ModelFleet } from './client/model-fleet.js';
import { DEFAULTS } from './core/defaults.js';
import { isLoopback } from './core/host.js';
import type { Selector } from './core/selector.js';
import type { ClientTls } from './core/tls.js';
import type { UpstreamKeys } from './credentials/upstream-keys.js';
import { type Gateway, type GatewaySettings, startGateway } from './gateway/gateway.js';
import { createAddressCheck } from './http/engine-client/address-check.js';
import { clock, getHostName, ids, random } from './system.js';
import { VERSION } from './version.js';

/** Options of a gateway. */
export interface GatewayOptions extends Omit<GatewaySettings, 'hasAffinity' | 'machineName' | 'version' | 'createId'> {
  readonly servers: readonly string[];
  /** Called with a warning for the operator. */
  readonly onWarning: (message: string) => void;
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
}

/** Warns if others can reach the gateway, and everyone can register a replica, which then receives their prompts. */
async function warnAboutOpenRegistration(
  api: ApiClient,
  { host, onWarning }: Pick<GatewayOptions, 'host' | 'onWarning'>,
): Promise<void> {
  if (isLoopback(host)) return;
  try {
    if (await api.hasOpenRegistration())
      onWarning('the API server accepts replicas without a token, and they receive prompts: see --register-token-file');
  } catch {
    // No server responds yet. The gateway starts without one.
  }
}

function createInferenceCaller(
  options: Omit<InferenceCallerOptions, 'streamTimeouts' | 'clock' | 'random'>,
): InferenceCaller {
  const { firstMessageTimeoutMs, streamIdleTimeoutMs } = DEFAULTS;
  return new InferenceCaller({
    ...options,
    streamTimeouts: { firstMessageTimeoutMs, streamIdleTimeoutMs },
    clock,
    random,
  });
}

/** Starts a gateway in this process. Resolves when it listens. Throws `usage` for invalid options. */
export function startHttpGateway(options: GatewayOptions): Promise<Gateway> {
  const { servers, access, selector, pick, hedgeAfterMs, upstreamKeys, upstreamNetworks, upstreamTls } = options;
  const { callToken, callTls } = options;
  const maxMessageBytes = Math.max(DEFAULTS.maxMessageBytes, options.maxBodyBytes);
  const checkAddress = createAddressCheck(
    upstreamNetworks,
    '--upstream-allow',
    (origin) => upstreamKeys?.().has(origin) ?? false,
  );
  const channels = new HttpChannels({
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
  const api = new ApiClient({ ...access, servers, clock });
  const grpcChannels = new ChannelPool({ maxMessageBytes, clock, token: callToken, tls: callTls });
  const fleet = new ModelFleet({
    api,
    query: [],
    selector,
    pick,
    onRemoved: (endpoint) => {
      channels.dropEndpoint(endpoint);
      grpcChannels.dropEndpoint(endpoint);
    },
    clock,
    random,
  });
  const caller = new HttpCaller({ channels, hedgeAfterMs, clock, random });
  const inferenceCaller = createInferenceCaller({
    channels: grpcChannels,
    maxMessageBytes,
    hedgeAfterMs,
    checkAddress,
  });
  void warnAboutOpenRegistration(api, options);
  return startGateway(createSettings(options), { fleet, caller, inferenceCaller }, { clock, random });
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
