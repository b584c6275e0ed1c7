import { parseAdvertisedUrl, parseOwnerUrl } from './api/lease-owner.js';
import {
  checkApiServerOptions,
  checkCloseOptions,
  checkKeepRegisteredOptions,
  checkUpdateOptions,
  checkWorkerOptions,
  type KeepRegisteredOptions,
  type StartApiServerOptions,
  type StartWorkerOptions,
  type UpdateOptions,
} from './compose-options.js';
import { composeForwarder } from './compose-peers.js';
import { composeStore } from './compose-store.js';
import { createEscapingLog } from './core/control-characters.js';
import { DEFAULTS } from './core/defaults.js';
import { parseAdvertised } from './core/endpoint.js';
import { parseReplicaId } from './core/ids.js';
import { toGetter, toTokenGetter } from './core/options.js';
import type { Log, MetricsSource, RegistryEvent, ServerEvent, Tracer } from './core/ports.js';
import { Registry } from './core/registry.js';
import { createCapability } from './json/capability-json.js';
import type { ApiServer } from './server/api-server-handle.js';
import * as system from './system.js';
import type { EventBus } from './telemetry/event-bus.js';
import type { ServerMetricsOptions } from './telemetry/server-metrics.js';
import { VERSION } from './version.js';
import type { Worker } from './worker/worker-settings.js';

const SILENT: Log = { info: () => {}, warn: () => {} };

/** Starts an API server in this process. Resolves when it listens. Throws `usage` for invalid options. */
export async function startApiServer(options: StartApiServerOptions = {}): Promise<ApiServer> {
  checkApiServerOptions(options);
  const {
    heartbeatMs = DEFAULTS.heartbeatMs,
    ackTimeoutMs = DEFAULTS.ackTimeoutMs,
    warmingMs = DEFAULTS.warmingMs,
    maxReplicas = DEFAULTS.maxReplicas,
    maxRegistryBytes = DEFAULTS.maxRegistryBytes,
    maxStreamsPerPeer = DEFAULTS.maxStreamsPerPeer,
    metricsKeys: keys = [],
    log = SILENT,
  } = options;
  const access = resolveAccess(options);
  const [{ startHttpApi }, { RegistryParts }, { createFirstListCheck }] = await Promise.all([
    import('./server/api-server.js'),
    import('./server/registry-parts.js'),
    import('./server/readiness.js'),
  ]);
  const events = await createEvents(log);
  const { store, kind, close: closeStore } = await composeStore(options, events);
  const { clock, random, ids } = system;
  const limits = { maxReplicas, maxLeasesPerHost: maxStreamsPerPeer, maxBytes: maxRegistryBytes };
  const registry = new Registry({ store, clock, random, ids, events, limits });
  const metrics = await createMetrics({ registry, store, keys, clock, version: VERSION }, events);
  const parts = new RegistryParts({ registry, events, clock, random, ids });
  const program = { version: VERSION, store: kind };
  const settings = { heartbeatMs, ackTimeoutMs, warmingMs, maxStreamsPerPeer, program };
  const forwarder = await composeForwarder(store, options);
  const resolved = { parts, metrics, ...settings, ...access, forwarder, events, clock };
  try {
    const readinessChecks = [createFirstListCheck(store.start(), events)];
    const listDegradations = (): readonly string[] => store.listProblems?.() ?? [];
    const server = await startHttpApi({ ...resolved, readinessChecks, listDegradations });
    // A server that listens on all addresses does not know at which of them others reach it.
    const url = access.advertisedUrl ?? (parseOwnerUrl(server.url) ? server.url : undefined);
    if (url !== undefined) store.publishUrl?.(url);
    return {
      ...server,
      async close(how = {}) {
        checkCloseOptions(how);
        await server.close(how).finally(closeStore);
        forwarder?.close();
      },
    };
  } catch (error) {
    await registry.close();
    await closeStore();
    throw error;
  }
}

/** Returns where an API server listens, how others reach it, and what requests must have. */
function resolveAccess(options: StartApiServerOptions) {
  const { host = DEFAULTS.host, port = DEFAULTS.apiPort, tls, allowedHosts = [], advertise } = options;
  const { registerTokens, readTokens, peerTokens } = options;
  return {
    host,
    port,
    tls: toGetter(tls),
    tokens: { register: toGetter(registerTokens), read: toGetter(readTokens), peer: toGetter(peerTokens) },
    machineName: system.getHostName(),
    allowedHosts,
    advertisedUrl: advertise === undefined ? undefined : parseAdvertisedUrl(advertise, tls !== undefined),
  };
}

/** Creates the events of an API server, and writes them to the log. */
async function createEvents(log: Log) {
  const [{ EventBus }, { logEvents }] = await Promise.all([
    import('./telemetry/event-bus.js'),
    import('./telemetry/log-events.js'),
  ]);
  const events = new EventBus<RegistryEvent | ServerEvent>();
  events.subscribe(logEvents(createEscapingLog(log), system.clock));
  return events;
}

/** Creates the metrics of an API server, which subscribe to its events. */
async function createMetrics(options: ServerMetricsOptions, events: EventBus<RegistryEvent | ServerEvent>) {
  const { ServerMetrics } = await import('./telemetry/server-metrics.js');
  const metrics = new ServerMetrics(options);
  events.subscribe(metrics.record);
  return metrics;
}

/** Starts a worker in this process. It serves the models of its backends, and registers unless `servers` is empty. */
export async function startWorker(options: StartWorkerOptions): Promise<Worker> {
  checkWorkerOptions(options);
  const {
    host = DEFAULTS.host,
    port = DEFAULTS.workerPort,
    servers = [DEFAULTS.apiServer],
    capabilities = [],
    token,
    serverTls,
    callTokens,
    tls,
    maxConcurrency,
    maxQueue = DEFAULTS.maxQueue,
    maxMessageBytes = DEFAULTS.maxMessageBytes,
    maxDecodingBytes = Math.max(DEFAULTS.maxDecodingBytes, maxMessageBytes),
    drainDelayMs = DEFAULTS.drainDelayMs,
    drainTimeoutMs = DEFAULTS.drainTimeoutMs,
    log = SILENT,
    ...others
  } = options;
  const [{ runWorker }, { findOpenTelemetryTracer }] = await Promise.all([
    import('./worker/running-worker.js'),
    import('./telemetry/open-telemetry.js'),
  ]);
  const limits = { maxConcurrency, maxQueue, maxMessageBytes, maxDecodingBytes, drainDelayMs, drainTimeoutMs };
  return runWorker(
    {
      ...others,
      ...limits,
      host,
      port,
      servers,
      serverAccess: { token: toTokenGetter(token), tls: toGetter(serverTls) },
      callTokens: toGetter(callTokens),
      tls: toGetter(tls),
      capabilities: capabilities.map(createCapability),
    },
    {
      clock: system.clock,
      random: system.random,
      ids: system.ids,
      log: createEscapingLog(log),
      hostName: system.getHostName(),
      instance: system.instance,
      version: VERSION,
      tracer: await findOpenTelemetryTracer(VERSION),
    },
  );
}

/** A registration that is kept alive until it is stopped. */
export interface KeptRegistration {
  /** Resolves after {@link stop}. Rejects if the registration is refused and a retry cannot succeed. */
  readonly stopped: Promise<void>;
  /**
   * Replaces the capabilities, without a gap in the registration if the API server supports that. Updates in quick
   * succession are combined. Resolves when the new capabilities are registered. Rejects with `unprocessable` if they are
   * refused; the previous ones then stay registered.
   */
  update(change: UpdateOptions): Promise<void>;
  /** Revokes the lease, which removes the replica from the registry. */
  stop(): Promise<void>;
}

/** Keeps a replica registered, for a model server without AnyServe support. Throws `usage` for invalid options. */
export async function keepRegistered(options: KeepRegisteredOptions): Promise<KeptRegistration> {
  checkKeepRegisteredOptions(options);
  const [{ ApiClient }, { LeaseKeeper }] = await Promise.all([
    import('./client/api-client.js'),
    import('./client/lease-keeper.js'),
  ]);
  const replica = {
    id: parseReplicaId(options.id),
    endpoint: parseAdvertised(options.endpoint),
    capabilities: options.capabilities.map(createCapability),
  };
  const { clock, random, ids } = system;
  const access = { token: toTokenGetter(options.token), tls: toGetter(options.tls) };
  const api = new ApiClient({ servers: [options.server].flat(), clock, ...access });
  const keeper = new LeaseKeeper({
    api,
    replica,
    instanceId: ids.createInstanceId(),
    clock,
    random,
    weight: options.weight,
    getLoad: options.getLoad,
    onChange: options.onChange,
  });
  const stopped = keeper.run().finally(() => api.close());
  // Prevents an unhandled rejection if the caller ignores `stopped`.
  stopped.catch(() => {});
  return {
    stopped,
    async update(change) {
      checkUpdateOptions(change);
      await keeper.update({ capabilities: change.capabilities.map(createCapability) });
    },
    stop: () => keeper.stop(),
  };
}

/**
 * Creates a tracer for the option `tracer`, which traces calls and attempts as spans of OpenTelemetry. The SDK is the application's.
 * Throws `usage` if the package `@opentelemetry/api` is not installed.
 */
export async function createTracer(): Promise<Tracer> {
  const { createOpenTelemetryTracer } = await import('./telemetry/open-telemetry.js');
  return createOpenTelemetryTracer(VERSION);
}

/** Starts a server of the metrics of this process. Resolves when it listens. Throws `failed` if it can't listen on the address. */
export async function startMetricsServer(
  address: { readonly host: string; readonly port: number },
  metrics: MetricsSource,
): Promise<{ close(): Promise<void> }> {
  const { startMetricsListener } = await import('./http/metrics-listener.js');
  return startMetricsListener({ ...address, clock: system.clock }, metrics);
}
