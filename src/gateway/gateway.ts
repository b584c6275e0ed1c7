import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequestFilter } from '../client/http-calls/forwarded-headers.js';
import type { HttpCaller } from '../client/http-calls/http-caller.js';
import { decodeModelName, ModelList } from '../client/http-calls/model-list.js';
import {
  createRequestError,
  type OpenaiError,
  sendOpenaiError,
  serializeOpenaiError,
} from '../client/http-calls/openai-error.js';
import type { InferenceCaller } from '../client/inference-caller.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { isLoopback } from '../core/host.js';
import type { Clock, Random } from '../core/ports.js';
import { type Listener, type ListenerOptions, startListener } from '../http/listener.js';
import { ConnectionLimit, countOpenFiles } from '../http/open-files.js';
import { getHeaderValues, parseTarget, toOriginForm } from '../http/request-head.js';
import type { FinishedCall } from '../telemetry/finished-call.js';
import { GatewayMetrics } from '../telemetry/gateway-metrics.js';
import type { Aliases } from './aliases.js';
import { BodyBuffer } from './body-buffer.js';
import { type CallPath, createCallPaths, findPathProblem, isStatefulPath } from './call-paths.js';
import type { QueueLimits } from './call-queue.js';
import { GrpcBackend } from './grpc-backend.js';
import { HttpBackend } from './http-backend.js';
import { ModelCalls } from './model-calls.js';
import { ANONYMOUS, type Caller, type FindCaller } from './steering.js';
import { WebPages, type WebPagesOptions } from './web-pages.js';

/** Settings of a gateway. */
export interface GatewaySettings
  extends Pick<ListenerOptions, 'host' | 'port' | 'tls'>,
    QueueLimits,
    Pick<WebPagesOptions, 'corsOrigin' | 'machineName' | 'allowedHosts'> {
  readonly aliases: Aliases;
  /** Paths after `/v1` that are forwarded too, such as `/tokenize`. */
  readonly allowedPaths: readonly string[];
  /** Names of request headers that are passed on too. */
  readonly passedHeaders: readonly string[];
  /** Finds the caller of a key. Undefined: no key is required. */
  readonly findCaller?: FindCaller | undefined;
  readonly hasAffinity: boolean;
  readonly maxBodyBytes: number;
  /** Maximum total size of the request bodies in memory. */
  readonly maxTotalBytes: number;
  /** Timeout for a caller that reads nothing of its response, in ms. Default: 30,000. */
  readonly readTimeoutMs?: number | undefined;
  readonly onFinish: (call: FinishedCall) => void;
  /** Version of this program, for metrics. */
  readonly version: string;
  /** Returns a new id of a response, without its prefix. */
  readonly createId: () => string;
}

/** The parts that a gateway calls replicas with. It closes them. */
export interface GatewayUpstream {
  readonly fleet: ModelFleet;
  readonly caller: HttpCaller;
  /** Calls replicas that speak gRPC. */
  readonly inferenceCaller: InferenceCaller;
}

/** A gateway that listens. */
export interface Gateway {
  readonly url: string;
  readonly port: number;
  /** Reports that it is not ready, lets calls finish for at most this long, and closes all connections. */
  close(drainMs?: number): Promise<void>;
}

/** Timeout for receiving the head of a request, and for all of it, in ms. A large body over a slow connection takes minutes. */
const HEAD_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 600_000;

/** Starts a gateway. Resolves when it accepts requests. Throws `failed` when it can't listen on the address. */
export async function startGateway(
  settings: GatewaySettings,
  upstream: GatewayUpstream,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<Gateway> {
  const front = new GatewayFront(settings, upstream, clock, random);
  const connections = new ConnectionLimit(await countOpenFiles());
  const listener = await startListener(
    {
      ...settings,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      headTimeoutMs: HEAD_TIMEOUT_MS,
      // An engine can take minutes. A caller that doesn't read is found by the relay.
      idleTimeoutMs: 0,
      clock,
    },
    {
      handle: (request, response) => front.handle(request, response),
      formatError: (detail) => serializeOpenaiError(createRequestError(detail)),
      connections,
    },
  );
  front.setAddress(listener.address);
  upstream.fleet.start();
  return {
    url: listener.url,
    port: listener.port,
    async close(drainMs = 0) {
      await front.drain(listener, drainMs);
      await listener.close();
      upstream.caller.close();
      upstream.inferenceCaller.close();
      upstream.fleet.close();
    },
  };
}

/** Handles the requests of a gateway: health, the list of models, and calls of models. */
class GatewayFront {
  readonly #settings: GatewaySettings;
  readonly #fleet: ModelFleet;
  readonly #models: ModelList;
  readonly #calls: ModelCalls;
  readonly #pages: WebPages;
  readonly #metrics: GatewayMetrics;
  readonly #paths: ReadonlyMap<string, CallPath>;
  readonly #clock: Clock;
  #isDraining = false;
  /** Whether it listens only on loopback. The host can be a name that resolves to it. */
  #isLocal = true;
  #callsInProgress = 0;
  #onIdle = (): void => {};
  readonly #onCallEnd = (): void => {
    if (--this.#callsInProgress === 0) this.#onIdle();
  };

  constructor(
    settings: GatewaySettings,
    { fleet, caller, inferenceCaller }: GatewayUpstream,
    clock: Clock,
    random: Random,
  ) {
    this.#settings = settings;
    this.#fleet = fleet;
    this.#clock = clock;
    this.#models = new ModelList(fleet, settings.aliases, clock.epochMs());
    this.#metrics = new GatewayMetrics({
      version: settings.version,
      isKnownModel: (name) => settings.aliases.has(name) || fleet.hasModel(name),
      countWaiting: () => this.#calls.waitingCount,
      countRunning: () => this.#callsInProgress,
    });
    this.#pages = new WebPages({
      ...settings,
      needsKey: settings.findCaller !== undefined,
      isLocal: () => this.#isLocal,
    });
    this.#paths = createCallPaths(settings.allowedPaths);
    this.#calls = new ModelCalls({
      ...settings,
      fleet,
      backends: [
        new HttpBackend({ fleet, caller, filterHeaders: createRequestFilter(settings.passedHeaders) }),
        new GrpcBackend({ fleet, caller: inferenceCaller, createId: settings.createId, clock }),
      ],
      bodies: new BodyBuffer(settings),
      onFinish: (call) => {
        this.#metrics.record(call);
        settings.onFinish(call);
      },
      clock,
      random,
    });
  }

  /** Records the address that it listens on. */
  setAddress(address: string): void {
    this.#isLocal = isLoopback(address);
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const error = this.#dispatch(request, response);
    if (error) sendOpenaiError(response, error);
  }

  /** Hands a request to the code for its path. Returns the error of one that is refused. */
  #dispatch(request: IncomingMessage, response: ServerResponse): OpenaiError | undefined {
    const { path, search } = parseTarget(toOriginForm(request.url ?? '/'));
    const pathProblem = findPathProblem(path);
    if (pathProblem !== undefined) return createRequestError(pathProblem);
    if (path === '/livez' || path === '/readyz') return this.#sendHealth(response, path === '/readyz');
    const pageProblem = this.#pages.findProblem(request);
    if (pageProblem) return pageProblem;
    if (this.#pages.respond(request, response)) return undefined;
    const { findCaller } = this.#settings;
    const caller = findCaller ? findCaller(getHeaderValues(request.rawHeaders, 'authorization')) : ANONYMOUS;
    if (!caller) return UNKNOWN_KEY;
    if (path === METRICS_PATH && request.method === 'GET') return this.#sendMetrics(response, caller);
    const isModels = path === MODELS_PATH || path.startsWith(`${MODELS_PATH}/`);
    const callPath = this.#paths.get(path);
    if (!isModels && !callPath) return createPathError(path);
    const method = callPath ? 'POST' : 'GET';
    if (request.method !== method) return createMethodError(request, method);
    if (!callPath) void this.#sendModels(response, path, caller);
    else return this.#call(request, response, callPath, search, caller);
    return undefined;
  }

  #call(
    request: IncomingMessage,
    response: ServerResponse,
    path: CallPath,
    search: string,
    caller: Caller,
  ): OpenaiError | undefined {
    if (getHeaderValues(request.rawHeaders, 'content-type').length > 1) return REPEATED_TYPE;
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') return createEncodingError(encoding);
    this.#callsInProgress++;
    response.on('close', this.#onCallEnd);
    void this.#calls.handle(request, response, path, search === '' ? '' : `?${search}`, caller);
    return undefined;
  }

  /** Refuses to be ready, and waits until no call is in progress, for at most `maxMs`. */
  async drain(listener: Listener, maxMs: number): Promise<void> {
    this.#isDraining = true;
    listener.stopKeepAlive();
    if (this.#callsInProgress === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      this.#clock.schedule(maxMs, resolve);
    });
  }

  #sendHealth(response: ServerResponse, isReadiness: boolean): undefined {
    const reason = isReadiness ? this.#findUnreadyReason() : undefined;
    const body = JSON.stringify(reason === undefined ? { status: 'ok' } : { status: 'unavailable', reason });
    response.writeHead(reason === undefined ? 200 : 503, { 'content-type': 'application/json' }).end(body);
  }

  #findUnreadyReason(): string | undefined {
    if (this.#isDraining) return 'shutting down';
    return this.#fleet.isLoaded ? undefined : 'no API server has sent a list of replicas';
  }

  /** Sends the metrics. They have the names of all keys, so callers that are restricted do not get them. */
  #sendMetrics(response: ServerResponse, { canSteer }: Caller): OpenaiError | undefined {
    if (!canSteer) return createRequestError('the metrics need a key with "steer"', { status: 403 });
    const { contentType } = this.#metrics;
    void this.#metrics.render().then((text) => response.writeHead(200, { 'content-type': contentType }).end(text));
    return undefined;
  }

  /** Sends the list of models, or one entry of it. */
  async #sendModels(response: ServerResponse, path: string, caller: Caller): Promise<void> {
    if (!this.#fleet.isLoaded) await this.#fleet.waitForList();
    const isVisible = (model: string): boolean => this.#calls.isOffered(model, caller);
    const name = decodeModelName(path.slice(MODELS_PATH.length + 1));
    const entry =
      path === MODELS_PATH
        ? { object: 'list', data: this.#models.list(caller.selector.text, isVisible) }
        : this.#models.find(name, isVisible);
    if (entry) sendJson(response, entry);
    else sendOpenaiError(response, this.#calls.createUnknownModelError(name, caller));
  }
}

const MODELS_PATH = '/v1/models';
const METRICS_PATH = '/metrics';

const UNKNOWN_KEY: OpenaiError = {
  status: 401,
  message: 'this gateway needs a key that it knows: send Authorization: Bearer KEY',
  type: 'authentication_error',
  code: 'invalid_api_key',
  headers: { 'www-authenticate': 'Bearer' },
};

/** An engine could read the body as the other type, with another model in it. */
const REPEATED_TYPE = createRequestError('the request has more than one content-type header');

function createPathError(path: string): OpenaiError {
  if (isStatefulPath(path)) {
    const message = 'this request is about something that one engine keeps, and the gateway does not know which one';
    return createRequestError(`${message}; call that engine directly`);
  }
  return createRequestError(`the gateway does not forward ${path.slice(0, 200)}; see --allow-path`, {
    status: 404,
    code: 'unknown_path',
  });
}

function createMethodError({ method }: IncomingMessage, expected: string): OpenaiError {
  const error = createRequestError(`${method} is not supported here; use ${expected}`, { status: 405 });
  return { ...error, headers: { allow: expected } };
}

function createEncodingError(encoding: string): OpenaiError {
  return createRequestError(
    `a request body encoded with ${encoding.slice(0, 100)} is not supported; send it as it is`,
    {
      status: 415,
    },
  );
}

function sendJson(response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(body.length) }).end(body);
}
