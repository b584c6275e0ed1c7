import type { SerializedReplica } from './api/serialized-replica.js';
import type { LeaseChange } from './client/lease-change.js';
import { createEscapingLog } from './core/control-characters.js';
import { DEFAULTS } from './core/defaults.js';
import { parseAdvertised } from './core/endpoint.js';
import { getErrorMessage } from './core/errors.js';
import { parseReplicaId } from './core/ids.js';
import { checkOptionTypes } from './core/option-types.js';
import { checkCounts, checkTimes, toGetter, type ValueOrGetter } from './core/options.js';
import type { Events, Log, RegistrationStore, RegistryEvent, ServerEvent } from './core/ports.js';
import { Registry } from './core/registry.js';
import type { ClientTls, ServerTls } from './core/tls.js';
import type { TokenSet } from './credentials/token-set.js';
import { MAX_MESSAGE_BYTES } from './inference/message-limits.js';
import { createCapability, type ScalarPairs } from './json/capability-json.js';
import type { ApiServer, CloseOptions } from './server/api-server-handle.js';
import type { ReadinessCheck } from './server/readiness.js';
import * as system from './system.js';
import { VERSION } from './version.js';
import type { Worker, WorkerSettings } from './worker/worker-settings.js';

/** Options of an API server. All are optional. */
export interface StartApiServerOptions {
  /** Host name or address to listen on. Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** TCP port to listen on. 0 selects a free port. Default: 8080. */
  readonly port?: number | undefined;
  /** Time between two heartbeats on a lease stream, in ms. Default: 2,000. */
  readonly heartbeatMs?: number | undefined;
  /** Tokens that can register replicas and send queries. Default: no token is required. */
  readonly registerTokens?: ValueOrGetter<TokenSet> | undefined;
  /** Tokens that can send queries. Default: queries require no token. */
  readonly readTokens?: ValueOrGetter<TokenSet> | undefined;
  /** Certificate and key of the server. With `ca`, clients must present a certificate. Default: plain HTTP. */
  readonly tls?: ValueOrGetter<ServerTls> | undefined;
  /** Drop a peer that has acknowledged nothing for this long, in ms. Default: 3,000. */
  readonly ackTimeoutMs?: number | undefined;
  /** Time after the start for which a query without matches counts as temporary, in ms. Default: 10,000. */
  readonly warmingMs?: number | undefined;
  /** Maximum number of replicas. Default: 100,000. */
  readonly maxReplicas?: number | undefined;
  /** Maximum total size of all registrations, in bytes. One address can use a quarter of it. Default: 256 MiB. */
  readonly maxRegistryBytes?: number | undefined;
  /** Maximum number of leases per client address. Default: 20,000. */
  readonly maxStreamsPerPeer?: number | undefined;
  /**
   * The store of registrations. The server starts it and leaves it open: several servers can share one, and its creator
   * closes it. A store that gets replicas from outside makes each a `SerializedReplica`. Default: a new one in memory.
   */
  readonly store?: RegistrationStore<SerializedReplica> | undefined;
  /** Additional host names that requests without a token can use for the server. Default: only this machine's names. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Receives a line for each registration and removal. Default: no log. */
  readonly log?: Log | undefined;
}

type Partialized<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Options of a worker. All but `backends` are optional. */
export type StartWorkerOptions = Pick<WorkerSettings, 'backends'> &
  Partialized<Omit<WorkerSettings, 'backends'>> & {
    /** Bearer token for the API servers. Default: none. */
    readonly token?: ValueOrGetter<string> | undefined;
    /** Trusted authorities and client certificate for `https` API servers. Default: the authorities that Node.js trusts. */
    readonly serverTls?: ValueOrGetter<ClientTls> | undefined;
    /** Tokens that can call the worker. Default: no token is required. */
    readonly callTokens?: ValueOrGetter<TokenSet> | undefined;
    /** Certificate and key of the worker. With `ca`, clients must present a certificate. Default: no TLS. */
    readonly tls?: ValueOrGetter<ServerTls> | undefined;
    /** Capabilities to register, in place of those that the model declares. Only for a worker with one model. */
    readonly capabilities?: readonly ScalarPairs[] | undefined;
    /** Receives a line for each failed call and for the shutdown. Default: no log. */
    readonly log?: Log | undefined;
  };

const MAX_PORT = 65_535;

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
    store: sharedStore,
    allowedHosts = [],
    log = SILENT,
  } = options;
  const [{ startHttpApi }, { MemoryStore }] = await Promise.all([
    import('./server/api-server.js'),
    import('./store/memory-store.js'),
  ]);
  const { events, history } = await createEvents(log);
  const store = sharedStore ?? new MemoryStore<SerializedReplica>(system.ids.createRegistryId());
  const closeStore = async (): Promise<void> => {
    if (!sharedStore) await store.close();
  };
  const { clock, random, ids } = system;
  const limits = { maxReplicas, maxLeasesPerHost: maxStreamsPerPeer, maxBytes: maxRegistryBytes };
  const registry = new Registry({ store, clock, random, ids, events, limits });
  const tokens = { register: toGetter(registerTokens), read: toGetter(readTokens) };
  const times = { heartbeatMs, ackTimeoutMs, warmingMs };
  const names = { machineName: system.getHostName(), allowedHosts };
  const resolved = { registry, host, port, ...names, ...times, tokens, tls: toGetter(tls), events, history, clock };
  try {
    const server = await startHttpApi({ ...resolved, readinessChecks: [createFirstListCheck(store, events)] });
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

function checkApiServerOptions(options: StartApiServerOptions): void {
  checkOptionTypes(options, {
    host: 'string',
    registerTokens: 'tokens',
    readTokens: 'tokens',
    tls: 'tls',
    store: 'store',
    allowedHosts: 'strings',
    log: 'log',
  });
  const { port, heartbeatMs, ackTimeoutMs, warmingMs, maxReplicas, maxRegistryBytes, maxStreamsPerPeer } = options;
  // With an interval of 0, the server would only send heartbeats.
  checkTimes({ heartbeatMs }, 1);
  checkTimes({ ackTimeoutMs, warmingMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ maxReplicas, maxRegistryBytes, maxStreamsPerPeer }, 1);
}

function checkCloseOptions(options: CloseOptions): void {
  checkOptionTypes(options, { signal: 'signal' });
  checkTimes({ drainMs: options.drainMs });
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

/** Starts a store. Returns a check that passes after the store's first complete list of registrations. */
function createFirstListCheck(store: Pick<RegistrationStore, 'start'>, events: Events<RegistryEvent>): ReadinessCheck {
  let reason: string | undefined = 'the first complete list of registrations has not arrived';
  store.start().then(
    () => {
      reason = undefined;
    },
    (error) => {
      reason = `the store has no complete list of registrations: ${getErrorMessage(error)}`;
      events.emit({ kind: 'store_failed', error: getErrorMessage(error) });
    },
  );
  return { name: 'first_list', getReason: () => reason };
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

function checkWorkerOptions(options: StartWorkerOptions): void {
  const types = {
    backends: 'objects',
    host: 'string',
    id: 'string',
    advertise: 'string',
    servers: 'strings',
    capabilities: 'objects',
    token: 'secret',
    serverTls: 'tls',
    callTokens: 'tokens',
    tls: 'tls',
    log: 'log',
    onLeaseChange: 'function',
  } as const;
  checkOptionTypes(options, types, ['backends']);
  const { port, maxConcurrency, maxQueue, maxMessageBytes, maxDecodingBytes, drainDelayMs, drainTimeoutMs } = options;
  checkTimes({ drainDelayMs, drainTimeoutMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ maxConcurrency }, 1);
  checkCounts({ maxQueue }, 0);
  checkCounts({ maxMessageBytes }, 1, MAX_MESSAGE_BYTES);
  checkCounts({ maxDecodingBytes }, 1);
}

/** The replica to keep registered, and the API servers. */
export interface KeepRegisteredOptions {
  /** URL of the API server, or of several: the replica is registered with each. */
  readonly server: string | readonly string[];
  /** Bearer token for the API servers. Default: none. */
  readonly token?: ValueOrGetter<string> | undefined;
  /** Trusted authorities and client certificate for `https` API servers. Default: the authorities that Node.js trusts. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** Replica id. It must be unique in the registry. */
  readonly id: string;
  /** Address for clients: `host:port`, `[v6]:port` or `unix:PATH`. */
  readonly endpoint: string;
  /** Capabilities of the replica. */
  readonly capabilities: readonly ScalarPairs[];
  /** Called for each registration, loss of the lease and takeover of the id. */
  readonly onChange?: ((change: LeaseChange) => void) | undefined;
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
  update(change: { readonly capabilities: readonly ScalarPairs[] }): Promise<void>;
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
    onChange: options.onChange,
  });
  const stopped = keeper.run().finally(() => api.close());
  // Prevents an unhandled rejection if the caller ignores `stopped`.
  stopped.catch(() => {});
  return {
    stopped,
    async update(change) {
      checkOptionTypes(change, { capabilities: 'objects' }, ['capabilities']);
      await keeper.update({ capabilities: change.capabilities.map(createCapability) });
    },
    stop: () => keeper.stop(),
  };
}

function checkKeepRegisteredOptions(options: KeepRegisteredOptions): void {
  const types = {
    server: 'string or strings',
    token: 'secret',
    tls: 'tls',
    id: 'string',
    endpoint: 'string',
    capabilities: 'objects',
    onChange: 'function',
  } as const;
  checkOptionTypes(options, types, ['server', 'id', 'endpoint', 'capabilities']);
}
