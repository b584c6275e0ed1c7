import type { Request, RequestHandler } from 'express';
import { EVENTS_PATH } from '../api/event-query.js';
import { EXPLAIN_PATH } from '../api/explanation-json.js';
import { OPEN_REGISTRATION, REGISTRATION_HEADER } from '../api/registration.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { WATCH_PATH } from '../api/watch-events.js';
import type { Clock, Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { BodyMemory } from '../http/body-memory.js';
import { sendJson } from '../http/json-response.js';
import { isPath } from '../http/request-head.js';
import { EventHistory } from '../telemetry/event-history.js';
import type { AccessTokens, AuthorizedHandler } from './authorization.js';
import { CORDON_PATH, createCordonHandler, createUncordonHandler } from './cordon-handlers.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { EventStreams } from './event-stream-response.js';
import { createEventsHandler, type ReadableHistory } from './events-handler.js';
import { createExplainHandler } from './explain-handler.js';
import { createReleaseHandler, createRenewHandler, isLeaseTarget, LEASE_PATH } from './lease-handlers.js';
import { createRegistryHandler, createReplicasHandler } from './list-handlers.js';
import { ListMemory } from './list-memory.js';
import { createReadyzHandler, handleLivez, type Readiness } from './readiness.js';
import { createRegisterHandler } from './register-handler.js';
import { emitRefusal, type RegistrationRefusal } from './registration-refusals.js';
import { createRouteHandler } from './route-handler.js';
import { createWatchHandler } from './watch-handler.js';
import { WatchHub } from './watch-hub.js';

/** Options of the resources' handlers. */
export interface ResourceOptions {
  readonly registry: Registry<SerializedReplica>;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent | ServerEvent>;
  readonly heartbeatMs: number;
  /** The tokens that requests need. Default: none. */
  readonly tokens?: AccessTokens | undefined;
  /** Time after the start for which "no match" counts as temporary, in ms: replicas can still be reconnecting. */
  readonly warmingMs: number;
  readonly readiness: Readiness;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  /** Maximum number of watches, and of followed streams of events, for each peer address. It never gets more than half of all. */
  readonly maxStreamsPerPeer?: number | undefined;
  /** The open watch streams, which the caller drains. Default: an own one. */
  readonly watches?: WatchHub | undefined;
  /** Whether registrations need neither a token nor a certificate. Default: false. */
  readonly isRegistrationOpen?: boolean | undefined;
  /** The last events of the registry. Default: one that stays empty. */
  readonly history?: ReadableHistory | undefined;
  /** The open event streams, which the caller closes. */
  readonly streams?: EventStreams | undefined;
  /** Limits the memory of large request bodies. Default: 64 MiB. */
  readonly bodies?: BodyMemory | undefined;
  /** Limits the memory of lists that are being sent. Default: 512 MiB. */
  readonly lists?: ListMemory | undefined;
}

/** The access that a resource needs: none, a read token or a register token. */
export type ResourceAccess = 'open' | 'read' | 'register';

/** A resource of the HTTP interface: a path and its methods. */
export interface ApiResource {
  /** The path. A regular expression for a path with a variable part. */
  readonly path: string | RegExp;
  readonly access: ResourceAccess;
  /** The handler of each method. HEAD is handled as GET. */
  readonly methods: Readonly<Record<string, AuthorizedHandler>>;
  /**
   * Set for hot resources, which get most requests. Returns whether a request target is the path of the resource. These requests
   * bypass express: its routing takes as long as the registry's lookup, and a fifth of the memory of a request.
   */
  readonly isHotTarget?: (target: string) => boolean;
  /** Called for each request that is refused before its handler runs. */
  readonly onRefused?: (request: Request, refusal: RegistrationRefusal) => void;
}

/** Creates the table of the API server's resources: the only list of its paths. */
export function createApiResources(options: ResourceOptions): readonly ApiResource[] {
  const { registry, clock, events, readiness, warmingMs } = options;
  const { bodies = new BodyMemory(), lists = new ListMemory(), streams = new EventStreams(clock) } = options;
  const { history = createEmptyHistory(clock), watches = new WatchHub({ ...options, streams }) } = options;
  const warmAtMs = clock.nowMs() + warmingMs;
  const isWarming = (): boolean => clock.nowMs() < warmAtMs;
  const readClock = () => ({ nowMs: clock.nowMs(), epochMs: clock.epochMs() });
  return [
    {
      path: '/route',
      access: 'read',
      methods: { GET: createRouteHandler(registry, isWarming, clock) },
      isHotTarget: (target) => isPath('/route', target),
    },
    {
      path: LEASE_PATH,
      access: 'register',
      methods: { PUT: createRenewHandler(registry, events, bodies), DELETE: createReleaseHandler(registry) },
      isHotTarget: isLeaseTarget,
    },
    {
      path: '/register',
      access: 'register',
      methods: { POST: createRegisterHandler({ ...options, bodies }) },
      onRefused: (request, refusal) => emitRefusal(events, request, refusal),
    },
    { path: '/registry', access: 'read', methods: { GET: createRegistryHandler(registry, lists) } },
    { path: '/replicas', access: 'read', methods: { GET: createReplicasHandler(registry, readClock, lists) } },
    { path: EXPLAIN_PATH, access: 'read', methods: { GET: createExplainHandler(registry, isWarming, clock) } },
    {
      path: CORDON_PATH,
      access: 'register',
      methods: { PUT: createCordonHandler(registry, bodies), DELETE: createUncordonHandler(registry) },
    },
    {
      path: EVENTS_PATH,
      access: 'read',
      methods: { GET: createEventsHandler({ ...options, history, streams, lists }) },
    },
    { path: WATCH_PATH, access: 'read', methods: { GET: createWatchHandler({ ...options, watches, streams }) } },
    { path: '/health', access: 'open', methods: { GET: createHealthHandler(options.isRegistrationOpen) } },
    { path: '/livez', access: 'open', methods: { GET: handleLivez } },
    { path: '/readyz', access: 'open', methods: { GET: createReadyzHandler(readiness) } },
  ];
}

function createEmptyHistory(clock: Clock): ReadableHistory {
  return new EventHistory<never>({ epoch: 'none', clock, serialize: () => undefined });
}

/** Creates the handler of `GET /health`, with the same body as the Python server's. */
function createHealthHandler(isRegistrationOpen = false): RequestHandler {
  const headers = isRegistrationOpen ? { [REGISTRATION_HEADER]: OPEN_REGISTRATION } : {};
  return (_request, response) => sendJson(response, 200, '{"status":"healthy"}', headers);
}
