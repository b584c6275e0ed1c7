import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { serializeErrorDetail } from '../api/api-responses.js';
import { getErrorMessage } from '../core/errors.js';
import type { Events, ServerEvent } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import { HostCheck } from '../http/host-check.js';
import { sendJson } from '../http/json-response.js';
import { parseTarget, toOriginForm, trimTrailingSlashes } from '../http/request-head.js';
import type { AccessTokens } from './authorization.js';
import { sendError } from './error-response.js';
import { guardRoute } from './route-guard.js';
import { type ApiRoute, createRoutes, type RouteOptions } from './routes.js';

/** Options of the API server's HTTP interface. */
export interface ApiAppOptions extends RouteOptions {
  /** The tokens that requests need. Default: none. */
  readonly tokens?: AccessTokens | undefined;
  /** Checks the host names in requests. Default: only names that always resolve to this machine. */
  readonly hosts?: HostCheck | undefined;
}

/** The API server's HTTP interface over a registry. */
export interface ApiApp {
  /** An express app with every route. */
  readonly app: Express;
  /**
   * Handles a request for a hot route, exactly as the app would. Returns false if the route isn't hot. Then the app must
   * handle the request.
   */
  handleHotRoute(request: Request, response: Response): boolean;
}

/** A route that bypasses express, and its handler. */
interface HotRoute {
  readonly isTarget: (target: string) => boolean;
  readonly handler: RequestHandler;
}

/** Creates the HTTP interface from the routing table. */
export function createApiApp(options: ApiAppOptions): ApiApp {
  const { events, tokens = {}, hosts = new HostCheck() } = options;
  const routes = createRoutes(options);
  const app = createExpress();
  const hotRoutes: HotRoute[] = [];
  for (const route of routes) {
    const handler = guardRoute(route, { tokens, hosts });
    app.all(route.path, handler);
    if (route.isHotTarget) hotRoutes.push({ isTarget: route.isHotTarget, handler });
  }
  app.use(createNotFoundHandler(routes, hosts));
  const onError = createErrorHandler(events);
  app.use(onError);
  return { app, handleHotRoute: (request, response) => handleHotRoute(hotRoutes, onError, request, response) };
}

/** Creates an express app without routes, and without those defaults of express that would change responses. */
function createExpress(): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('etag', false);
  app.set('query parser', false);
  app.enable('case sensitive routing');
  app.enable('strict routing');
  app.use((request, _response, next) => {
    if (!request.url.startsWith('/')) request.url = toOriginForm(request.url);
    next();
  });
  return app;
}

function handleHotRoute(
  routes: readonly HotRoute[],
  onError: ErrorRequestHandler,
  request: Request,
  response: Response,
): boolean {
  for (const { isTarget, handler } of routes) {
    if (!isTarget(request.url)) continue;
    try {
      const handled: unknown = handler(request, response, NO_NEXT);
      if (handled instanceof Promise) handled.catch((error) => onError(error, request, response, NO_NEXT));
    } catch (error) {
      onError(error, request, response, NO_NEXT);
    }
    return true;
  }
  return false;
}

/** A guarded handler always sends a response, and never calls `next`. */
const NO_NEXT = (): void => {};

/** Creates the handler of requests that match no route. It redirects a known path with trailing slashes, and sends 404 otherwise. */
function createNotFoundHandler(routes: readonly ApiRoute[], hosts: HostCheck): RequestHandler {
  const paths = new Set(routes.map(({ path }) => path));
  return (request, response) => {
    const problem = hosts.findProblem(request, false);
    if (problem) return sendJson(response, problem.status, serializeErrorDetail(problem.detail));
    const { path } = parseTarget(request.url);
    const trimmed = trimTrailingSlashes(path);
    if (trimmed === path || !paths.has(trimmed)) return sendError(response, 'not_found', 'Not Found');
    // A relative URL: a proxy in front of this server can have another scheme and host.
    const location = `${trimmed}${request.url.slice(path.length)}`;
    response.writeHead(307, { location, 'content-length': 0 }).end();
  };
}

/** Maximum length of a request target in the log, in UTF-16 units. */
const MAX_LOGGED_TARGET = 256;

/** Creates the handler of errors that route handlers throw. It reports the error, and sends none of its text. */
function createErrorHandler(events: Events<ServerEvent>): ErrorRequestHandler {
  return (error, request, response, _next) => {
    // A path that can't be decoded, such as %zz, doesn't exist.
    if (error instanceof URIError) return sendError(response, 'not_found', 'Not Found');
    const target = truncateText(request.url, MAX_LOGGED_TARGET);
    events.emit({ kind: 'request_failed', method: request.method, target, error: getErrorMessage(error) });
    if (response.headersSent) response.destroy();
    else sendError(response, 'failed', 'Internal Server Error');
  };
}
