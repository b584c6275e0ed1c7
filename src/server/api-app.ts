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
import { sendError } from './error-response.js';
import { guardResource } from './resource-guard.js';

/** Options of the API server's HTTP interface. */
export interface ApiAppOptions extends ResourceOptions {
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
  const { events, tokens = {}, hosts = new HostCheck() } = options;
  const resources = createApiResources(options);
  const app = createExpress();
  const hotResources: HotResource[] = [];
  for (const resource of resources) {
    const handler = guardResource(resource, { tokens, hosts });
    app.all(resource.path, handler);
    if (resource.isHotTarget) hotResources.push({ isTarget: resource.isHotTarget, handler });
  }
  app.use(createNotFoundHandler(resources, hosts));
  const onError = createErrorHandler(events);
  app.use(onError);
  return { app, handleHotResource: (request, response) => handleHotResource(hotResources, onError, request, response) };
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

/** Creates the handler of requests that match no resource. It redirects a known path with trailing slashes, and sends 404 otherwise. */
function createNotFoundHandler(resources: readonly ApiResource[], hosts: HostCheck): RequestHandler {
  const paths = new Set(resources.map(({ path }) => path));
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

/** Creates the handler of errors that the handlers of resources throw. It reports the error, and sends none of its text. */
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
