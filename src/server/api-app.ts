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
import { type ApiResource, createApiResources, type ResourceOptions } from './api-resources.js';
import { DASHBOARD_PATH } from './dashboard-files.js';
import { sendError } from './error-response.js';
import { measureHandler } from './metrics-handler.js';
import type { RegistryParts } from './registry-parts.js';
import { guardResource } from './resource-guard.js';

/** Options of the API server's HTTP interface. */
export interface ApiAppOptions extends ResourceOptions {
  /** The registry, and the parts of it that tokens can use. */
  readonly parts: RegistryParts;
  /** Checks the host names in requests. Default: only names that always resolve to this machine. */
  readonly hosts?: HostCheck | undefined;
}

/** The API server's HTTP interface over a registry. */
export interface ApiApp {
  /** An express app with every resource. */
  readonly app: Express;
  /**
   * Handles a request for a hot resource, exactly as the app would. Returns false if the resource isn't hot. Then the app must
   * handle the request.
   */
  handleHotResource(request: Request, response: Response): boolean;
}

/** A resource that bypasses express, and its handler. */
interface HotResource {
  readonly isTarget: (target: string) => boolean;
  readonly handler: RequestHandler;
}

/** Creates the HTTP interface from the table of resources. */
export function createApiApp(options: ApiAppOptions): ApiApp {
  const { parts, events, tokens = {}, hosts = new HostCheck(), metrics, clock } = options;
  // The parts of the tokens at the start grow with the registry. Creating one later takes time in proportion to its size.
  for (const getTokens of [tokens.register, tokens.read])
    getTokens?.().scopes.forEach((scope) => void parts.get(scope));
  const resources = createApiResources(options);
  const app = createExpress();
  const hotResources: HotResource[] = [];
  for (const resource of resources) {
    const guarded = guardResource(resource, { parts, tokens, hosts });
    const handler = metrics
      ? measureHandler(guarded, metrics.requests.getRoute(getRouteName(resource)), clock)
      : guarded;
    app.all(resource.path, handler);
    if (resource.isHotTarget) hotResources.push({ isTarget: resource.isHotTarget, handler });
  }
  app.use(createNotFoundHandler(resources, hosts));
  const onError = createErrorHandler(events);
  app.use(onError);
  return { app, handleHotResource: (request, response) => handleHotResource(hotResources, onError, request, response) };
}

/** Returns the name of a resource in metrics: its path, with the names of its variable parts. */
function getRouteName({ path, template }: ApiResource): string {
  return template ?? String(path);
}

/** Creates an express app without handlers, and without those defaults of express that would change responses. */
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

function handleHotResource(
  resources: readonly HotResource[],
  onError: ErrorRequestHandler,
  request: Request,
  response: Response,
): boolean {
  for (const { isTarget, handler } of resources) {
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

/**
 * Creates the handler of requests that match no resource. It redirects a known path with other slashes at its end, and a browser
 * that asks for `/`, and sends 404 otherwise.
 */
function createNotFoundHandler(resources: readonly ApiResource[], hosts: HostCheck): RequestHandler {
  const paths = new Set(resources.map(({ path }) => path));
  return (request, response) => {
    const problem = hosts.findProblem(request, false);
    if (problem) return sendJson(response, problem.status, serializeErrorDetail(problem.detail));
    const { path } = parseTarget(request.url);
    if (isPageRequest(request, path)) return redirect(response, DASHBOARD_PATH.slice(1));
    const trimmed = trimTrailingSlashes(path);
    if (trimmed === path || !paths.has(trimmed)) return sendError(response, 'not_found', 'Not Found');
    // A relative URL: a proxy in front of this server can have another scheme and host.
    redirect(response, `${trimmed}${request.url.slice(path.length)}`);
  };
}

/** Returns whether a person opens the address of the server, or the dashboard's without its slash, in a browser. */
function isPageRequest({ method, headers }: Request, path: string): boolean {
  const isRead = method === 'GET' || method === 'HEAD';
  return isRead && (path === '/' || `${path}/` === DASHBOARD_PATH) && /\btext\/html\b/i.test(headers.accept ?? '');
}

function redirect(response: Response, location: string): void {
  response.writeHead(307, { location, 'content-length': 0 }).end();
}

/** The id of a lease in a request target. */
const LEASE_ID = /(\/leases\/)[^?]*/i;

/** Maximum length of a request target in the log, in UTF-16 units. */
const MAX_LOGGED_TARGET = 256;

/** Creates the handler of errors that the handlers of resources throw. It reports the error, and sends none of its text. */
function createErrorHandler(events: Events<ServerEvent>): ErrorRequestHandler {
  return (error, request, response, _next) => {
    // A path that can't be decoded, such as %zz, doesn't exist.
    if (error instanceof URIError) return sendError(response, 'not_found', 'Not Found');
    // The id of a lease is a secret.
    const target = truncateText(request.url.replace(LEASE_ID, '$1...'), MAX_LOGGED_TARGET);
    events.emit({ kind: 'request_failed', method: request.method, target, error: getErrorMessage(error) });
    if (response.headersSent) response.destroy();
    else sendError(response, 'failed', 'Internal Server Error');
  };
}
