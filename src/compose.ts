import type { LeaseChange } from './client/lease-change.js';
import { createEscapingLog } from './core/control-characters.js';
import { DEFAULTS } from './core/defaults.js';
import { parseAdvertised } from './core/endpoint.js';
import { getErrorMessage } from './core/errors.js';
import { parseReplicaId } from './core/ids.js';
import { checkCounts, checkTimes } from './core/option-checks.js';
import type { Events, Log, RegistrationStore, RegistryEvent, ServerEvent } from './core/ports.js';
import { Registry } from './core/registry.js';
import type { ClientTls, ServerTls } from './core/tls.js';
import { toGetter, type ValueOrGetter } from './core/value-or-getter.js';
import type { TokenSet } from './credentials/token-set.js';
import { MAX_MESSAGE_BYTES } from './inference/message-limits.js';
import { createCapability, type ScalarPairs } from './json/capability-json.js';
import type { ApiServer } from './server/api-server-handle.js';
import type { ReadinessCheck } from './server/readiness.js';
import * as system from './system.js';
import { VERSION } from './version.js';
import type { Worker, WorkerSettings } from './worker/worker-settings.js';

/** How an API server listens; everything has a default. */
export interface StartApiServerOptions {
  /** A host name or address of this machine; 127.0.0.1 unless told. */
  readonly host?: string | undefined;
  /** A TCP port; 8080 unless told, 0 picks a free one. */
  readonly port?: number | undefined;
  /** The time between two heartbeats of a lease stream, in milliseconds; 2,000 unless told. */
  readonly heartbeatMs?: number | undefined;
  /** The tokens that may register replicas, and ask; no token is needed unless told. */
  readonly registerTokens?: ValueOrGetter<TokenSet> | undefined;
  /** The tokens that may ask; no token is needed to ask unless told. */
  readonly readTokens?: ValueOrGetter<TokenSet> | undefined;
  /** What is shown to callers; with authorities, a certificate is asked of them; plain HTTP is spoken unless told. */
  readonly tls?: ValueOrGetter<ServerTls> | undefined;
  /** How long a peer may acknowledge nothing of what was sent to it, in milliseconds; 3,000 unless told. */
  readonly ackLimitMs?: number | undefined;
  /** How long after the start a miss says that replicas may still be on their way, in milliseconds; 10,000 unless told. */
  readonly warmingMs?: number | undefined;
  /** The most replicas there can be; 100,000 unless told. */
  readonly maxReplicas?: number | undefined;
  /** Maximum size of all registrations together, in bytes; one address can hold a quarter of it. Default: 256 MiB. */
  readonly maxRegistryBytes?: number | undefined;
  /** The most leases that one address can hold; 20,000 unless told. */
  readonly maxStreamsPerPeer?: number | undefined;
  /**
   * The store of registrations. The server starts it and leaves it open: several servers can share one, and its creator
   * closes it. Default: a new one in memory.
   */
  readonly store?: RegistrationStore | undefined;
  /** Names besides those of this machine by which requests without a token can reach the server. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Told of registrations and removals, a line each; silent unless told. */
  readonly log?: Log | undefined;
}

type Partialized<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** How a worker serves; everything but the backends has a default. */
export type StartWorkerOptions = Pick<WorkerSettings, 'backends'> &
  Partialized<Omit<WorkerSettings, 'backends'>> & {
    /** The bearer token to show the API servers. */
    readonly token?: ValueOrGetter<string> | undefined;
    /** Whom to trust behind `https`, and what to show there. */
    readonly serverTls?: ValueOrGetter<ClientTls> | undefined;
    /** The tokens one of which a call must show; none is asked for unless told. */
    readonly callTokens?: ValueOrGetter<TokenSet> | undefined;
    /** What is shown to callers; with authorities, a certificate is asked of them; plain text is spoken unless told. */
    readonly tls?: ValueOrGetter<ServerTls> | undefined;
    /** What to register in place of what the one model says it can do. */
    readonly capabilities?: readonly ScalarPairs[] | undefined;
    /** Told of failed calls and of the end, a line each; silent unless told. */
    readonly log?: Log | undefined;
  };

const MAX_PORT = 65_535;

const SILENT: Log = { info: () => {}, warn: () => {} };

/** Starts an API server in this process, with its registry in memory. */
export async function startApiServer({
  host = DEFAULTS.host,
  port = DEFAULTS.apiPort,
  heartbeatMs = DEFAULTS.heartbeatMs,
  registerTokens,
  readTokens,
  tls,
  ackLimitMs = DEFAULTS.ackLimitMs,
  warmingMs = DEFAULTS.warmingMs,
  maxReplicas = DEFAULTS.maxReplicas,
  maxRegistryBytes = DEFAULTS.maxRegistryBytes,
  maxStreamsPerPeer = DEFAULTS.maxStreamsPerPeer,
  store: givenStore,
  allowedHosts = [],
  log = SILENT,
}: StartApiServerOptions = {}): Promise<ApiServer> {
  // Without time between them, heartbeats would be all that the server does.
  checkTimes({ heartbeatMs }, 1);
  checkTimes({ ackLimitMs, warmingMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ maxReplicas, maxRegistryBytes, maxStreamsPerPeer }, 1);
  const [{ startHttpApi }, { createMemoryStore }, { EventBus }, { logEvents }] = await Promise.all([
    import('./server/api-server.js'),
    import('./store/memory-store.js'),
    import('./telemetry/event-bus.js'),
    import('./telemetry/log-events.js'),
  ]);
  const events = new EventBus<RegistryEvent | ServerEvent>();
  events.subscribe(logEvents(createEscapingLog(log), system.clock));
  const store = givenStore ?? createMemoryStore();
  const registry = new Registry({
    store,
    clock: system.clock,
    random: system.random,
    ids: system.ids,
    events,
    limits: { maxReplicas, maxLeasesPerHost: maxStreamsPerPeer, maxBytes: maxRegistryBytes },
  });
  const close = async (): Promise<void> => {
    await registry.close();
    if (!givenStore) await store.close();
  };
  const tokens = { register: toGetter(registerTokens), read: toGetter(readTokens) };
  const times = { heartbeatMs, ackLimitMs, warmingMs };
  const names = { machineName: system.getHostName(), allowedHosts };
  const options = { registry, host, port, ...names, ...times, tokens, tls: toGetter(tls), events, clock: system.clock };
  try {
    const server = await startHttpApi({ ...options, readinessChecks: [firstList(store, events)] });
    return { ...server, close: (how) => server.close(how).finally(close) };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Starts a store. The check passes once the store has delivered its first complete list of registrations. */
function firstList(store: RegistrationStore, events: Events<RegistryEvent>): ReadinessCheck {
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
  return { name: 'first_list', reason: () => reason };
}

/** Starts a worker in this process: it serves the backends' models, and registers unless `servers` is empty. */
export async function startWorker({
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
}: StartWorkerOptions): Promise<Worker> {
  checkTimes({ drainDelayMs, drainTimeoutMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ maxConcurrency }, 1);
  checkCounts({ maxQueue }, 0);
  checkCounts({ maxMessageBytes }, 1, MAX_MESSAGE_BYTES);
  checkCounts({ maxDecodingBytes }, 1);
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
      log: createEscapingLog(log),
      hostName: system.getHostName(),
      instance: system.instance,
      version: VERSION,
    },
  );
}

/** What to keep registered, and where. */
export interface KeepRegisteredOptions {
  /** The URL of an API server, or several to turn to when one fails. */
  readonly server: string | readonly string[];
  /** The bearer token to show the API servers. */
  readonly token?: ValueOrGetter<string> | undefined;
  /** Whom to trust behind `https`, and what to show there. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** The replica's name, unique in the list. */
  readonly id: string;
  /** Where callers reach it: `host:port`, `[v6]:port` or `unix:PATH`. */
  readonly endpoint: string;
  /** What it can do; each object is one capability. */
  readonly capabilities: readonly ScalarPairs[];
  /** Told of each registration, loss and takeover. */
  readonly onChange?: ((change: LeaseChange) => void) | undefined;
}

/** A registration that is being kept. */
export interface KeptRegistration {
  /** Resolves after {@link stop}; rejects when trying again is no use, because the registration is refused. */
  readonly stopped: Promise<void>;
  /**
   * Replaces what the replica can do, without a moment of absence where the API server can; quick updates become one.
   * Resolves when it is in the list; rejects with `unprocessable` when it is refused, and what was there before stays.
   */
  update(change: { readonly capabilities: readonly ScalarPairs[] }): Promise<void>;
  /** Gives the lease back; the replica is out of the list. */
  stop(): Promise<void>;
}

/** Keeps a model server registered that knows nothing of us. Throws `usage` for what cannot be registered. */
export async function keepRegistered(options: KeepRegisteredOptions): Promise<KeptRegistration> {
  const [{ ApiClient }, { LeaseKeeper }] = await Promise.all([
    import('./client/api-client.js'),
    import('./client/lease-keeper.js'),
  ]);
  const replica = {
    id: parseReplicaId(options.id),
    endpoint: parseAdvertised(options.endpoint),
    capabilities: options.capabilities.map(createCapability),
  };
  const api = new ApiClient([options.server].flat(), { token: toGetter(options.token), tls: toGetter(options.tls) });
  const keeper = new LeaseKeeper({
    api,
    replica,
    clock: system.clock,
    random: system.random,
    onChange: options.onChange,
  });
  const stopped = keeper.run().finally(() => api.close());
  // Whoever does not look at it must not be brought down by it.
  stopped.catch(() => {});
  return {
    stopped,
    update: ({ capabilities }) => keeper.update({ capabilities: capabilities.map(createCapability) }),
    stop: () => keeper.stop(),
  };
}
