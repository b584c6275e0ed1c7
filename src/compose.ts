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
import { composeStore } from './compose-store.js';
import { createEscapingLog } from './core/control-characters.js';
import { DEFAULTS } from './core/defaults.js';
import { parseAdvertised } from './core/endpoint.js';
import { parseReplicaId } from './core/ids.js';
import { toGetter } from './core/options.js';
import type { Log, RegistryEvent, ServerEvent } from './core/ports.js';
import { Registry } from './core/registry.js';
import { createCapability } from './json/capability-json.js';
import type { ApiServer } from './server/api-server-handle.js';
import * as system from './system.js';
import { VERSION } from './version.js';
import type { Worker } from './worker/worker-settings.js';

const SILENT: Log = { info: () => {}, warn: () => {} };

/** Starts an API server in this process. Resolves when it listens. Throws `usage` for invalid options. */
export async function startApiServer(options: StartApiServerOptions = {}): Promise<ApiServer> {
  checkApiServerOptions(options);
  const {
    host = DEFAULTS.host,
    port = DEFAULTS.apiPort,
    heartbeatMs = DEFAULTS.heartbeatMs,
    registerTokens,
    readTokens,
    tls,
    ackTimeoutMs = DEFAULTS.ackTimeoutMs,
    warmingMs = DEFAULTS.warmingMs,
    maxReplicas = DEFAULTS.maxReplicas,
    maxRegistryBytes = DEFAULTS.maxRegistryBytes,
    maxStreamsPerPeer = DEFAULTS.maxStreamsPerPeer,
    allowedHosts = [],
    log = SILENT,
  } = options;
  const [{ startHttpApi }, { createFirstListCheck }] = await Promise.all([
    import('./server/api-server.js'),
    import('./server/readiness.js'),
  ]);
  const { events, history } = await createEvents(log);
  const { store, close: closeStore } = await composeStore(options, events);
  const { clock, random, ids } = system;
  const limits = { maxReplicas, maxLeasesPerHost: maxStreamsPerPeer, maxBytes: maxRegistryBytes };
  const registry = new Registry({ store, clock, random, ids, events, limits });
  const tokens = { register: toGetter(registerTokens), read: toGetter(readTokens) };
  const settings = { heartbeatMs, ackTimeoutMs, warmingMs, maxStreamsPerPeer };
  const names = { machineName: system.getHostName(), allowedHosts };
  const resolved = { registry, host, port, ...names, ...settings, tokens, tls: toGetter(tls), events, history, clock };
  try {
    const readinessChecks = [createFirstListCheck(store.start(), events)];
    const listDegradations = (): readonly string[] => store.listProblems?.() ?? [];
    const server = await startHttpApi({ ...resolved, readinessChecks, listDegradations });
    return {
      ...server,
      async close(how = {}) {
        checkCloseOptions(how);
        await server.close(how).finally(closeStore);
      },
    };
  } catch (error) {
    await registry.close();
    await closeStore();
    throw error;
  }
}

/** Creates the events of an API server, with two subscribers: the log and the history. */
async function createEvents(log: Log) {
  const [{ EventBus }, { logEvents }, { EventHistory }, { serializeHistoryEvent }] = await Promise.all([
    import('./telemetry/event-bus.js'),
    import('./telemetry/log-events.js'),
    import('./telemetry/event-history.js'),
    import('./api/event-json.js'),
  ]);
  const { clock, ids } = system;
  const events = new EventBus<RegistryEvent | ServerEvent>();
  events.subscribe(logEvents(createEscapingLog(log), clock));
  const history = new EventHistory({ epoch: ids.createServerId(), clock, serialize: serializeHistoryEvent });
  events.subscribe(history.record);
  return { events, history };
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
  const { runWorker } = await import('./worker/running-worker.js');
  const limits = { maxConcurrency, maxQueue, maxMessageBytes, maxDecodingBytes, drainDelayMs, drainTimeoutMs };
  return runWorker(
    {
      ...others,
      ...limits,
      host,
      port,
      servers,
      serverAccess: { token: toGetter(token), tls: toGetter(serverTls) },
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
  const access = { token: toGetter(options.token), tls: toGetter(options.tls) };
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
