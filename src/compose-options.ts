import type { SerializedReplica } from './api/serialized-replica.js';
import type { LeaseChange } from './client/lease-change.js';
import { AnyserveError } from './core/errors.js';
import type { ReplicaLoad } from './core/load.js';
import { checkOptionTypes, type OptionTypes } from './core/option-types.js';
import { checkCounts, checkTimes, type ServerToken, type ValueOrGetter } from './core/options.js';
import type { Log, RegistrationStore } from './core/ports.js';
import { quote } from './core/quoting.js';
import { MAX_WEIGHT } from './core/replica.js';
import type { StoreLogin } from './core/store-login.js';
import type { ClientTls, ServerTls } from './core/tls.js';
import type { TokenSet } from './credentials/token-set.js';
import { MAX_MESSAGE_BYTES } from './inference/message-limits.js';
import type { ScalarPairs } from './json/capability-json.js';
import type { CloseOptions } from './server/api-server-handle.js';
import type { WorkerSettings } from './worker/worker-settings.js';

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
  /**
   * Maximum number of leases for each address. The same number limits its `GET /watch` streams, and its streams of
   * `GET /events?follow`. Of these, one address never gets more than half of all: 5,000 and 500. Default: 20,000.
   */
  readonly maxStreamsPerPeer?: number | undefined;
  /**
   * The store of registrations: `memory`, or `etcd://HOST:PORT[,HOST:PORT][/PREFIX]` (`etcds://` with TLS), which several servers
   * share. Or a store: the server starts it and leaves it open, several servers can share it, and its creator closes it. A
   * store that gets replicas from outside makes each a `SerializedReplica`. Default: `memory`.
   */
  readonly store?: RegistrationStore<SerializedReplica> | string | undefined;
  /** Trusted authorities and client certificate for `etcds://`. Default: the authorities that Node.js trusts. */
  readonly storeTls?: ValueOrGetter<ClientTls> | undefined;
  /** User and password of etcd. Default: none. */
  readonly storeLogin?: ValueOrGetter<StoreLogin> | undefined;
  /**
   * The URL at which registrants and other API servers of a shared registry reach this server. Default: for each registration,
   * the address to which the registrant has connected.
   */
  readonly advertise?: string | undefined;
  /** Token for the other API servers of a shared registry, to which requests for their leases are forwarded. Default: none. */
  readonly peerToken?: ValueOrGetter<string> | undefined;
  /** Tokens with which other API servers can forward such requests to this one. Default: only register tokens. */
  readonly peerTokens?: ValueOrGetter<TokenSet> | undefined;
  /**
   * Authorities that issued the certificates of the other API servers, and the client certificate for them. Default: `ca` and
   * the certificate of `tls`.
   */
  readonly peerTls?: ValueOrGetter<ClientTls> | undefined;
  /** Additional host names that requests without a token can use for the server. Default: only this machine's names. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Capability keys whose values are labels of `GET /metrics`, such as `model`. Default: none. */
  readonly metricsKeys?: readonly string[] | undefined;
  /** Receives a line for each registration and removal. Default: no log. */
  readonly log?: Log | undefined;
}

type Partialized<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Options of a worker. All but `backends` are optional. */
export type StartWorkerOptions = Pick<WorkerSettings, 'backends'> &
  Partialized<Omit<WorkerSettings, 'backends'>> & {
    /** Bearer token for the API servers, or a function that returns the one for a server. Default: none. */
    readonly token?: ServerToken | undefined;
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

/** The replica to keep registered, and the API servers. */
export interface KeepRegisteredOptions {
  /** URL of the API server, or of several: the replica is registered with each. */
  readonly server: string | readonly string[];
  /** Bearer token for the API servers, or a function that returns the one for a server. Default: none. */
  readonly token?: ServerToken | undefined;
  /** Trusted authorities and client certificate for `https` API servers. Default: the authorities that Node.js trusts. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** Replica id. It must be unique in the registry. */
  readonly id: string;
  /** Address for clients: `host:port`, `[v6]:port` or `unix:PATH`. */
  readonly endpoint: string;
  /** Capabilities of the replica. */
  readonly capabilities: readonly ScalarPairs[];
  /** Share of the calls, from 1 to 1,000: twice the weight, twice the calls. Default: 1. */
  readonly weight?: number | undefined;
  /**
   * Returns the current load of the model server, or undefined if it isn't known. It is called every 3 s and reported when it
   * has changed. Only integers from 0 to 1,000,000,000 are reported. Default: no load.
   */
  readonly getLoad?: (() => ReplicaLoad | undefined) | undefined;
  /** Called for each registration, loss of the lease and takeover of the id. */
  readonly onChange?: ((change: LeaseChange) => void) | undefined;
}

/** Options of `update` of a kept registration: the values to replace. */
export interface UpdateOptions {
  readonly capabilities: readonly ScalarPairs[];
}

const MAX_PORT = 65_535;

const API_SERVER_OPTION_TYPES: OptionTypes<StartApiServerOptions> = {
  host: 'string',
  port: 'number',
  heartbeatMs: 'number',
  registerTokens: 'tokens',
  readTokens: 'tokens',
  tls: 'tls',
  ackTimeoutMs: 'number',
  warmingMs: 'number',
  maxReplicas: 'number',
  maxRegistryBytes: 'number',
  maxStreamsPerPeer: 'number',
  store: 'store',
  storeTls: 'tls',
  storeLogin: 'login',
  advertise: 'string',
  peerToken: 'secret',
  peerTokens: 'tokens',
  peerTls: 'tls',
  allowedHosts: 'strings',
  metricsKeys: 'strings',
  log: 'log',
};

/** Checks the options of `startApiServer`. Throws `usage` with the option's name. */
export function checkApiServerOptions(options: StartApiServerOptions): void {
  checkOptionTypes('startApiServer', options, API_SERVER_OPTION_TYPES);
  const { port, heartbeatMs, ackTimeoutMs, warmingMs, maxReplicas, maxRegistryBytes, maxStreamsPerPeer } = options;
  // With an interval of 0, the server would only send heartbeats.
  checkTimes({ heartbeatMs }, 1);
  checkTimes({ ackTimeoutMs, warmingMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ maxReplicas, maxRegistryBytes, maxStreamsPerPeer }, 1);
  checkMetricsKeys(options.metricsKeys ?? []);
}

const CLOSE_OPTION_TYPES: OptionTypes<CloseOptions> = { drainMs: 'number', signal: 'signal' };

/** Checks the options of `close` of an API server. Throws `usage` with the option's name. */
export function checkCloseOptions(options: CloseOptions): void {
  checkOptionTypes('close', options, CLOSE_OPTION_TYPES);
  checkTimes({ drainMs: options.drainMs });
}

/** Maximum number of keys. More would make a series of each combination of their values. */
const MAX_METRICS_KEYS = 4;

/** Throws `usage` for keys that can't be names of labels. */
function checkMetricsKeys(keys: readonly string[]): void {
  const invalid = keys.find((key, index) => !/^(?!__)[a-zA-Z_][\w]*$/.test(key) || keys.indexOf(key) !== index);
  if (invalid !== undefined) {
    const rule = 'give names of letters, digits and underscores, each once';
    throw new AnyserveError('usage', `metrics key ${quote(invalid)} cannot be a label: ${rule}`);
  }
  if (keys.length > MAX_METRICS_KEYS)
    throw new AnyserveError('usage', `${keys.length} metrics keys: give at most ${MAX_METRICS_KEYS}`);
}

const WORKER_OPTION_TYPES: OptionTypes<StartWorkerOptions> = {
  backends: 'objects',
  host: 'string',
  port: 'number',
  id: 'string',
  advertise: 'string',
  servers: 'strings',
  capabilities: 'objects',
  weight: 'number',
  token: 'secret',
  serverTls: 'tls',
  callTokens: 'tokens',
  tls: 'tls',
  maxConcurrency: 'number',
  maxQueue: 'number',
  maxMessageBytes: 'number',
  maxDecodingBytes: 'number',
  drainDelayMs: 'number',
  drainTimeoutMs: 'number',
  log: 'log',
  onLeaseChange: 'function',
};

/** Checks the options of `startWorker`. Throws `usage` with the option's name. */
export function checkWorkerOptions(options: StartWorkerOptions): void {
  checkOptionTypes('startWorker', options, WORKER_OPTION_TYPES, ['backends']);
  const { port, weight, maxConcurrency, maxQueue, maxMessageBytes, maxDecodingBytes } = options;
  const { drainDelayMs, drainTimeoutMs } = options;
  checkTimes({ drainDelayMs, drainTimeoutMs });
  checkCounts({ port }, 0, MAX_PORT);
  checkCounts({ weight }, 1, MAX_WEIGHT);
  checkCounts({ maxConcurrency }, 1);
  checkCounts({ maxQueue }, 0);
  checkCounts({ maxMessageBytes }, 1, MAX_MESSAGE_BYTES);
  checkCounts({ maxDecodingBytes }, 1);
}

const KEEP_REGISTERED_OPTION_TYPES: OptionTypes<KeepRegisteredOptions> = {
  server: 'string or strings',
  token: 'secret',
  tls: 'tls',
  id: 'string',
  endpoint: 'string',
  capabilities: 'objects',
  weight: 'number',
  getLoad: 'function',
  onChange: 'function',
};

/** Checks the options of `keepRegistered`. Throws `usage` with the option's name. */
export function checkKeepRegisteredOptions(options: KeepRegisteredOptions): void {
  const required = ['server', 'id', 'endpoint', 'capabilities'] as const;
  checkOptionTypes('keepRegistered', options, KEEP_REGISTERED_OPTION_TYPES, required);
  checkCounts({ weight: options.weight }, 1, MAX_WEIGHT);
}

const UPDATE_OPTION_TYPES: OptionTypes<UpdateOptions> = { capabilities: 'objects' };

/** Checks the options of `update` of a kept registration. Throws `usage` with the option's name. */
export function checkUpdateOptions(options: UpdateOptions): void {
  checkOptionTypes('update', options, UPDATE_OPTION_TYPES, ['capabilities']);
}
