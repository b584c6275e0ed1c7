import type { Request, RequestHandler } from 'express';
import { EVENTS_PATH } from '../api/event-query.js';
import { EXPLAIN_PATH } from '../api/explanation-json.js';
import { OPEN_REGISTRATION, REGISTRATION_HEADER, TOKEN_HEADER } from '../api/registration.js';
import { WATCH_PATH } from '../api/watch-events.js';
import type { Clock, Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import { BodyMemory } from '../http/body-memory.js';
import { sendJson } from '../http/json-response.js';
import { isPath } from '../http/request-head.js';
import type { ServerMetrics } from '../telemetry/server-metrics.js';
import { type Access, type AccessTokens, type AuthorizedHandler, findTokenUse } from './authorization.js';
import { CORDON_PATH, createCordonHandler, createUncordonHandler } from './cordon-handlers.js';
import { createFileHandler, DASHBOARD_FILES } from './dashboard-files.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { EventStreams } from './event-stream-response.js';
import { createEventStreamLimit, createEventsHandler } from './events-handler.js';
import { createExplainHandler } from './explain-handler.js';
import { ExplanationQueue } from './explanation-queue.js';
import { ForeignLeases } from './foreign-leases.js';
import { createHeartbeatWheel } from './heartbeat-wheel.js';
import type { LeaseForwarder } from './lease-forwarder.js';
import { createReleaseHandler, createRenewHandler, isLeaseTarget, LEASE_PATH } from './lease-handlers.js';
import { createRegistryHandler, createReplicasHandler } from './list-handlers.js';
import { ListMemory } from './list-memory.js';
import { createMetricsHandler, METRICS_PATH } from './metrics-handler.js';
import { createReadyzHandler, handleLivez, type Readiness } from './readiness.js';
import { createRegisterHandler } from './register-handler.js';
import { emitRefusal, type RegistrationRefusal } from './registration-refusals.js';
import type { RegistryPart } from './registry-parts.js';
import { createRouteHandler } from './route-handler.js';
import { SearchTurns } from './search-turns.js';
import { createServerInfoHandler, type ProgramInfo, SERVER_INFO_PATH } from './server-info-handler.js';
import { createWatchHandler, createWatchLimit } from './watch-handler.js';
import { WatchHub } from './watch-hub.js';

/** Options of the resources' handlers. */
export interface ResourceOptions {
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
  /** The URL at which registrants and other API servers reach this one. Default: the address of each connection. */
  readonly advertisedUrl?: string | undefined;
  /** Forwards requests for leases that other API servers granted. Default: no other server has leases. */
  readonly forwarder?: Pick<LeaseForwarder, 'forward'> | undefined;
  /** Whether registrations need neither a token nor a certificate. Default: false. */
  readonly isRegistrationOpen?: boolean | undefined;
  /** The open event streams, which the caller closes. */
  readonly streams?: EventStreams | undefined;
  /** Limits the memory of large request bodies. Default: 64 MiB. */
  readonly bodies?: BodyMemory | undefined;
  /** Describes this program for the dashboard. Default: unknown. */
  readonly program?: ProgramInfo | undefined;
  /** Limits the memory of lists that are being sent. Default: 512 MiB. */
  readonly lists?: ListMemory | undefined;
  /** The metrics to serve, and to count requests in. Default: none. */
  readonly metrics?: ServerMetrics | undefined;
}

/**
/**
 * The access that a resource needs: none, a read token or a register token. A page needs none, but the host name is checked as
 * for the data that it shows. `whole`: a read token that is not limited to a part of the registry, for a resource whose responses
 * can't be.
 */
export type ResourceAccess = 'open' | 'page' | Access | 'whole';

/** The handlers of a resource by method. */
export type ResourceMethods = Readonly<Record<string, AuthorizedHandler>>;

/** A resource of the HTTP interface: a path and its methods. */
export interface ApiResource {
  /** The path. A regular expression for a path with a variable part. */
  readonly path: string | RegExp;
  /** The path with the names of its variable parts, such as `/leases/{lease}`. Default: the path. */
  readonly template?: string;
  readonly access: ResourceAccess;
  /**
   * Creates the handler of each method for a part of the registry. It is the only access of a handler to the registry, so no response
   * can be about more than the token of the request allows. HEAD is handled as GET.
   */
  readonly createMethods: (part: RegistryPart) => ResourceMethods;
  /**
   * Set for hot resources, which get most requests. Returns whether a request target is the path of the resource. These requests
   * bypass express: its routing takes as long as the registry's lookup, and a fifth of the memory of a request.
   */
  readonly isHotTarget?: (target: string) => boolean;
  /** Whether other API servers of the registry can send requests with a peer token. Default: false. */
  readonly acceptsPeers?: boolean;
  /** Called for each request that is refused before its handler runs. */
  readonly onRefused?: (request: Request, refusal: RegistrationRefusal) => void;
}

/** Creates the table of the API server's resources: the only list of its paths. */
export function createApiResources(options: ResourceOptions): readonly ApiResource[] {
  const context = { ...options, ...createShared(options) };
  return [
    ...createQueryResources(context),
    ...createLeaseResources(context),
    ...createDashboardResources(context),
    ...createHealthResources(context),
  ];
}

/** The options, and what the handlers of all parts of the registry share. */
type ResourceContext = ResourceOptions & ReturnType<typeof createShared>;

function createQueryResources(context: ResourceContext): readonly ApiResource[] {
  const { lists, clock, isWarming, readClock, routeTurns: turns, explanations } = context;
  return [
    {
      path: '/route',
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createRouteHandler({ registry, clock, isWarming, turns }) }),
      isHotTarget: (target) => isPath('/route', target),
    },
    {
      path: '/registry',
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createRegistryHandler(registry, lists) }),
    },
    {
      path: '/replicas',
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createReplicasHandler(registry, readClock, lists) }),
    },
    {
      path: EXPLAIN_PATH,
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createExplainHandler(registry, explanations) }),
    },
    {
      path: EVENTS_PATH,
      access: 'read',
      createMethods: ({ history }) => ({ GET: createEventsHandler({ ...context, history }) }),
    },
    {
      path: WATCH_PATH,
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createWatchHandler({ ...context, registry }) }),
    },
  ];
}

function createLeaseResources(context: ResourceContext): readonly ApiResource[] {
  const { events, bodies, forwarder } = context;
  return [
    {
      path: LEASE_PATH,
      template: '/leases/{lease}',
      access: 'register',
      createMethods: ({ registry }) => {
        const foreignLeases = new ForeignLeases({ registry, events, forwarder });
        const lease = { registry, events, bodies, foreignLeases };
        return { PUT: createRenewHandler(lease), DELETE: createReleaseHandler(lease) };
      },
      isHotTarget: isLeaseTarget,
      acceptsPeers: true,
    },
    {
      path: '/register',
      access: 'register',
      createMethods: ({ registry }) => ({ POST: createRegisterHandler({ ...context, registry }) }),
      onRefused: (request, refusal) => emitRefusal(events, request, refusal),
    },
    {
      path: CORDON_PATH,
      template: '/replicas/{id}/cordon',
      access: 'register',
      createMethods: ({ registry }) => ({
        PUT: createCordonHandler(registry, bodies),
        DELETE: createUncordonHandler(registry),
      }),
    },
  ];
}

function createDashboardResources(context: ResourceContext): readonly ApiResource[] {
  const files = DASHBOARD_FILES.map((file): ApiResource => {
    const handler = createFileHandler(file);
    return { path: file.path, access: 'page', createMethods: () => ({ GET: handler }) };
  });
  return [
    ...files,
    {
      path: SERVER_INFO_PATH,
      access: 'read',
      createMethods: ({ registry }) => ({ GET: createServerInfoHandler({ ...context, registry }) }),
    },
  ];
}

function createHealthResources({
  readiness,
  isRegistrationOpen,
  metrics,
  tokens,
}: ResourceContext): readonly ApiResource[] {
  const metricsResource: ApiResource | undefined = metrics && {
    path: METRICS_PATH,
    access: 'whole',
    createMethods: () => ({ GET: createMetricsHandler(metrics) }),
  };
  return [
    ...(metricsResource ? [metricsResource] : []),
    {
      path: '/health',
      access: 'open',
      createMethods: () => ({ GET: createHealthHandler(isRegistrationOpen, tokens) }),
    },
    { path: '/livez', access: 'open', createMethods: () => ({ GET: handleLivez }) },
    { path: '/readyz', access: 'open', createMethods: () => ({ GET: createReadyzHandler(readiness) }) },
  ];
}

/** Creates what the handlers of all parts of the registry share: limits, and the time of the start. */
function createShared(options: ResourceOptions) {
  const { clock, heartbeatMs, maxStreamsPerPeer, warmingMs } = options;
  const { bodies = new BodyMemory(), lists = new ListMemory(), streams = new EventStreams(clock) } = options;
  const startedAtMs = clock.nowMs();
  const isWarming = (): boolean => clock.nowMs() < startedAtMs + warmingMs;
  options.metrics?.readWarmingFrom(isWarming);
  return {
    bodies,
    lists,
    streams,
    watches: options.watches ?? new WatchHub({ ...options, streams }),
    startedAtMs,
    isWarming,
    readClock: () => ({ nowMs: clock.nowMs(), epochMs: clock.epochMs() }),
    heartbeats: createHeartbeatWheel({ clock, intervalMs: heartbeatMs }),
    routeTurns: new SearchTurns(clock),
    explanations: new ExplanationQueue(isWarming, clock),
    eventStreamLimit: createEventStreamLimit(maxStreamsPerPeer),
    watchLimit: createWatchLimit(maxStreamsPerPeer),
  };
}

/** Creates the handler of `GET /health`, with the same body as the Python server's. */
function createHealthHandler(isRegistrationOpen = false, tokens: AccessTokens = {}): RequestHandler {
  const headers = isRegistrationOpen ? { [REGISTRATION_HEADER]: OPEN_REGISTRATION } : {};
  return (request, response) => {
    const tokenUse = findTokenUse(request, tokens);
    const all = tokenUse === undefined ? headers : { ...headers, [TOKEN_HEADER]: tokenUse };
    sendJson(response, 200, '{"status":"healthy"}', all);
  };
}
