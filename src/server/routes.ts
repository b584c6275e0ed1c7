import type { RequestHandler } from 'express';
import type { Clock, Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { sendJson } from './answer.js';
import type { GrantedHandler } from './authorization.js';
import { BodyMemory } from './body-memory.js';
import { isForLease, LEASE_PATH, releaseHandler, renewHandler } from './lease-handlers.js';
import { registryHandler, replicasHandler } from './list-handlers.js';
import { ListMemory } from './list-memory.js';
import type { Readiness } from './readiness.js';
import { livezHandler, readyzHandler } from './readiness-handlers.js';
import { registerHandler } from './register-handler.js';
import { isPath } from './request-target.js';
import { routeHandler } from './route-handler.js';
import type { DeadPeerDetector } from './unacknowledged.js';

/** Options of the routes' handlers. */
export interface RouteOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent | ServerEvent>;
  readonly heartbeatMs: number;
  /** How long after a start "no match" counts as temporary, in milliseconds: replicas can still be on their way back. */
  readonly warmingMs: number;
  readonly readiness: Readiness;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  /** The memory of large request bodies. Default: 64 MiB. */
  readonly bodies?: BodyMemory | undefined;
  /** The memory of lists on their way to readers. Default: 512 MiB. */
  readonly lists?: ListMemory | undefined;
}

/** The callers of a route: anyone, or holders of a read token, or of a register token. */
export type RouteAccess = 'open' | 'read' | 'register';

/** One row of the routing table. */
export interface Route {
  /** The path. A regular expression for a path with a variable part. */
  readonly path: string | RegExp;
  readonly access: RouteAccess;
  /** The handler of each method. HEAD is handled as GET. */
  readonly methods: Readonly<Record<string, GrantedHandler>>;
  /**
   * For a route that is called most: whether a request target is its path. Its requests are answered before express, whose way to
   * the first handler takes as long as the lookup, and a fifth of the memory of a request.
   */
  readonly isHotTarget?: (target: string) => boolean;
}

/** Creates the routing table of the API server: the only list of its paths. */
export function createRoutes(options: RouteOptions): readonly Route[] {
  const { registry, clock, events, readiness, warmingMs } = options;
  const { bodies = new BodyMemory(), lists = new ListMemory() } = options;
  const warmAtMs = clock.nowMs() + warmingMs;
  const isWarming = (): boolean => clock.nowMs() < warmAtMs;
  const moment = () => ({ nowMs: clock.nowMs(), epochMs: clock.epochMs() });
  return [
    {
      path: '/route',
      access: 'read',
      methods: { GET: routeHandler(registry, isWarming) },
      isHotTarget: (target) => isPath('/route', target),
    },
    {
      path: LEASE_PATH,
      access: 'register',
      methods: { PUT: renewHandler(registry, events, bodies), DELETE: releaseHandler(registry) },
      isHotTarget: isForLease,
    },
    { path: '/register', access: 'register', methods: { POST: registerHandler({ ...options, bodies }) } },
    { path: '/registry', access: 'read', methods: { GET: registryHandler(registry, lists) } },
    { path: '/replicas', access: 'read', methods: { GET: replicasHandler(registry, moment, lists) } },
    { path: '/health', access: 'open', methods: { GET: healthHandler } },
    { path: '/livez', access: 'open', methods: { GET: livezHandler } },
    { path: '/readyz', access: 'open', methods: { GET: readyzHandler(readiness) } },
  ];
}

/** `GET /health`: that this process answers, in the words of the Python server. */
const healthHandler: RequestHandler = (_request, response) => sendJson(response, 200, '{"status":"healthy"}');
