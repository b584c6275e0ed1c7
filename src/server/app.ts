import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { messageOf } from '../core/errors.js';
import type { Clock, Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import { shortened } from '../core/quoted.js';
import type { Registry } from '../core/registry.js';
import { trimTrailingSlashes } from '../core/trailing-slashes.js';
import { detailText } from '../wire/answers.js';
import { sendFailure, sendJson } from './answer.js';
import { type AccessTokens, answeredMethod, decide, type GrantedHandler, OPEN } from './authorization.js';
import { BodyMemory } from './body-memory.js';
import { HostCheck } from './host-check.js';
import { inTurn, isFirst } from './in-turn.js';
import { isForLease, releaseHandler, renewHandler } from './lease-handlers.js';
import { registryHandler, replicasHandler } from './list-handlers.js';
import { ListMemory } from './list-memory.js';
import type { Readiness } from './readiness.js';
import { livezHandler, readyzHandler } from './readiness-handlers.js';
import { registerHandler } from './register-handler.js';
import { isPath, originForm, parseTarget } from './request-target.js';
import { routeHandler } from './route-handler.js';
import type { UnacknowledgedWatch } from './unacknowledged.js';

/** What the HTTP side of the API server needs. */
export interface AppOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent | ServerEvent>;
  readonly heartbeatMs: number;
  /** The tokens that requests need; none unless told. */
  readonly tokens?: AccessTokens | undefined;
  /** How long replicas may still be on their way back after this app was made, in milliseconds. */
  readonly warmingMs: number;
  readonly readiness: Readiness;
  /** The names by which requests can reach the app. Default: those that lead to this machine for sure. */
  readonly hosts?: HostCheck | undefined;
  readonly unacknowledged: Pick<UnacknowledgedWatch, 'watch'>;
  /** The memory of large request bodies. Default: 64 MiB. */
  readonly bodies?: BodyMemory | undefined;
  /** The memory of lists on their way to readers. Default: 512 MiB. */
  readonly lists?: ListMemory | undefined;
}

/** What is answered without a token: whether the server is well, which load balancers ask. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/health', '/livez', '/readyz']);

/** More headers than this are no request of ours. */
const MAX_HEADERS = 100;

const TOO_MANY_HEADERS = detailText(`the request has more than ${MAX_HEADERS} headers`);

const CLOSE = { connection: 'close' };

/** The API server's HTTP interface over a registry. */
export interface ApiApp {
  /** All of it, as an ordinary express app. */
  readonly app: Express;
  /**
   * Answers what is asked most, as the app would: `/route`, before every call of a fleet, and what each lease asks every few
   * seconds. False: it is not asked for that, or not at once, and the app is to answer. Express's own way to its first handler
   * takes as long as the lookup, and a fifth of the memory of a request.
   */
  answersOften(request: Request, response: Response): boolean;
}

/** Makes the HTTP interface over a registry. */
export function createApp(options: AppOptions): ApiApp {
  const { registry, clock, events, readiness, warmingMs, tokens = {}, hosts = new HostCheck() } = options;
  const warmAtMs = clock.nowMs() + warmingMs;
  const isWarming = (): boolean => clock.nowMs() < warmAtMs;
  const moment = () => ({ nowMs: clock.nowMs(), epochMs: clock.epochMs() });
  const { bodies = new BodyMemory(), lists = new ListMemory() } = options;
  const paths = new Set<string>(['/route']);

  /** Answers by method, and only to who may. */
  function guarded(
    methods: Readonly<Record<string, GrantedHandler>>,
    { isOpen = false }: { readonly isOpen?: boolean } = {},
  ): RequestHandler {
    const allow = Object.keys(methods).join(', ');
    return (request, response, next) => {
      if (request.rawHeaders.length / 2 > MAX_HEADERS) return sendJson(response, 431, TOO_MANY_HEADERS, CLOSE);
      const method = answeredMethod(request);
      const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
      if (!handler) return sendJson(response, 405, detailText('Method Not Allowed'), { allow });
      const decision = isOpen ? OPEN : decide(request, tokens);
      const problem = hosts.problem(request, decision === OPEN && !isOpen);
      if (problem) return sendJson(response, problem.status, detailText(problem.detail));
      if (decision.kind === 'granted') return handler(request, response, next, decision.prefixes);
      sendFailure(response, 'unauthenticated', decision.detail, { 'www-authenticate': 'Bearer' });
    };
  }

  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.set('query parser', false);
  app.enable('case sensitive routing');
  app.enable('strict routing');
  const route = guarded({ GET: routeHandler(registry, isWarming) });
  const lease = guarded({ PUT: renewHandler(registry, events, bodies), DELETE: releaseHandler(registry) });
  const oftenAsked = (url: string): RequestHandler | undefined => {
    if (isPath('/route', url)) return route;
    return isForLease(url) ? lease : undefined;
  };
  app.use((request, _response, next) => {
    if (!request.url.startsWith('/')) request.url = originForm(request.url);
    next();
  });
  app.use(inTurn, (request, response, next) => {
    const handler = oftenAsked(request.url);
    return handler ? handler(request, response, next) : next();
  });
  mount('/register', { POST: registerHandler({ ...options, bodies }) });
  mount('/registry', { GET: registryHandler(registry, lists) });
  mount('/health', { GET: (_request, response) => sendJson(response, 200, '{"status":"healthy"}') });
  mount('/livez', { GET: livezHandler });
  mount('/readyz', { GET: readyzHandler(readiness) });
  mount('/replicas', { GET: replicasHandler(registry, moment, lists) });

  /** Has a path be answered: by method, and only to who may. */
  function mount(path: string, methods: Readonly<Record<string, GrantedHandler>>): void {
    paths.add(path);
    app.all(path, guarded(methods, { isOpen: OPEN_PATHS.has(path) }));
  }

  app.use((request, response) => {
    const problem = hosts.problem(request, false);
    if (problem) return sendJson(response, problem.status, detailText(problem.detail));
    const { path } = parseTarget(request.url);
    const trimmed = trimTrailingSlashes(path);
    if (trimmed === path || !paths.has(trimmed)) return sendFailure(response, 'not_found', 'Not Found');
    // Relative: behind a proxy, scheme and host of this server are not those that the caller used.
    const location = `${trimmed}${request.url.slice(path.length)}`;
    response.writeHead(307, { location, 'content-length': 0 }).end();
  });
  const fail = failureHandler(events);
  app.use(fail);

  return {
    app,
    answersOften(request, response) {
      const handler = isFirst(response) ? oftenAsked(request.url) : undefined;
      if (!handler) return false;
      try {
        const handled: unknown = handler(request, response, NO_NEXT);
        if (handled instanceof Promise) handled.catch((error) => fail(error, request, response, NO_NEXT));
      } catch (error) {
        fail(error, request, response, NO_NEXT);
      }
      return true;
    },
  };
}

/** What is asked often is always answered by its own handler. */
const NO_NEXT = (): void => {};

/** Maximum length of a request target in the log, in UTF-16 units. */
const MAX_LOGGED_TARGET = 256;

/** The last resort: reports whatever a handler throws, and answers with a 500. */
function failureHandler(events: Events<ServerEvent>): ErrorRequestHandler {
  return (error, request, response, _next) => {
    // A part of the path that is no text, such as %zz, names nothing.
    if (error instanceof URIError) return sendFailure(response, 'not_found', 'Not Found');
    const target = shortened(request.url, MAX_LOGGED_TARGET);
    events.emit({ kind: 'request_failed', method: request.method, target, error: messageOf(error) });
    if (response.headersSent) response.destroy();
    else sendFailure(response, 'failed', 'Internal Server Error');
  };
}
