import type { IncomingMessage, ServerResponse } from 'node:http';
import { sleep } from '../client/async-waits.js';
import { NO_LIST_ERROR, toOpenaiError } from '../client/http-calls/call-error.js';
import { createRequestFilter } from '../client/http-calls/forwarded-headers.js';
import type { HttpCaller } from '../client/http-calls/http-caller.js';
import { decodeModelName, ModelList } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from '../client/http-calls/openai-error.js';
import type { GrpcCalls } from '../client/lazy-inference-caller.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { isLoopback } from '../core/host.js';
import type { Clock, EndTrace, Random, ServedCall, ServerTracer } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import { ignoreBody } from '../http/body-acceptance.js';
import { findHeadProblem } from '../http/head-problem.js';
import type { Listener } from '../http/listener.js';
import { getHeaderValues } from '../http/request-head.js';
import type { FinishedCall } from '../telemetry/finished-call.js';
import { type AttemptCounts, GatewayMetrics } from '../telemetry/gateway-metrics.js';
import type { MetricsSnapshot } from '../telemetry/process-metrics.js';
import type { RefusedRequest } from '../telemetry/refused-request.js';
import type { Aliases } from './aliases.js';
import { BodyBuffer } from './body-buffer.js';
import { type CallPath, createCallPaths } from './call-paths.js';
import type { QueueLimits } from './call-queue.js';
import { type FrontTarget, isModelsPath, MODELS_PATH, readFrontTarget } from './front-target.js';
import { GrpcBackend } from './grpc-backend.js';
import { HttpBackend } from './http-backend.js';
import { ModelCalls } from './model-calls.js';
import { ModelRoutes } from './model-routes.js';
import {
  createEncodingError,
  createMethodError,
  createPathError,
  REPEATED_TYPE,
  UNKNOWN_KEY,
} from './request-errors.js';
import { ANONYMOUS, type Caller, type FindCaller } from './steering.js';
import { WebPages, type WebPagesOptions } from './web-pages.js';

/** Settings for the requests of a gateway. */
export interface FrontSettings
  extends QueueLimits,
    Pick<WebPagesOptions, 'corsOrigin' | 'machineName' | 'allowedHosts'> {
  readonly aliases: Aliases;
  /** Paths after `/v1` that are forwarded too, such as `/messages`. */
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
  /** Called for each request that is refused before it becomes a call. */
  readonly onRefuse: (refused: RefusedRequest) => void;
  /** Returns the metrics of all processes of the gateway in the format of Prometheus. Default: those of this process. */
  readonly renderMetrics?: (() => Promise<string>) | undefined;
  /** Traces the calls. Default: none. */
  readonly tracer?: ServerTracer | undefined;
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
  readonly inferenceCaller: GrpcCalls;
  /** Counts of the attempts of both callers. */
  readonly attempts: AttemptCounts;
}

const METRICS_PATH = '/metrics';

const CALL_METHODS: readonly string[] = ['POST'];

/** Node.js leaves out the body of a response to HEAD. */
const READ_METHODS: readonly string[] = ['GET', 'HEAD'];

/** Maximum length of a path in logs, in UTF-16 units. */
const MAX_LOGGED_PATH = 256;

/** Times of a shutdown, in ms. Default: 0. */
export interface DrainTimes {
  /** Time to keep accepting calls, because a load balancer sends them until it has checked `/readyz` again. */
  readonly delayMs?: number;
  /** Maximum time for calls to finish after that. */
  readonly maxMs?: number;
}

/** Handles the requests of a gateway: health, the list of models, and calls of models. */
export class GatewayFront {
  readonly #settings: FrontSettings;
  readonly #fleet: ModelFleet;
  readonly #models: ModelList;
  readonly #routes: ModelRoutes;
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
    settings: FrontSettings,
    { fleet, caller, inferenceCaller, attempts }: GatewayUpstream,
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
      listCalls: () => this.#calls.listInProgress(),
      attempts,
      countEjections: () => fleet.ejections,
    });
    this.#pages = new WebPages({
      ...settings,
      needsKey: settings.findCaller !== undefined,
      isLocal: () => this.#isLocal,
    });
    this.#paths = createCallPaths(settings.allowedPaths);
    this.#routes = new ModelRoutes({
      fleet,
      backends: [
        new HttpBackend({ caller, filterHeaders: createRequestFilter(settings.passedHeaders) }),
        new GrpcBackend({ caller: inferenceCaller, createId: settings.createId, clock }),
      ],
      aliases: settings.aliases,
    });
    this.#calls = new ModelCalls({
      ...settings,
      fleet,
      routes: this.#routes,
      bodies: new BodyBuffer(settings),
      onFinish: (call) => {
        this.#metrics.record(call);
        settings.onFinish(call);
      },
      clock,
      random,
    });
  }

  /** Returns the metrics of this process. */
  readMetrics(): Promise<MetricsSnapshot> {
    return this.#metrics.read();
  }

  /** Records the address that it listens on. */
  setAddress(address: string): void {
    this.#isLocal = isLoopback(address);
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const target = readFrontTarget(request.url ?? '/', this.#paths);
    if (!target.callPath) ignoreBody(request, response, this.#clock);
    const refusal = this.#dispatch(request, response, target);
    if (refusal) this.#refuse(request, response, target, refusal);
  }

  /** Checks whether a request is accepted from its caller, and handles it. */
  #dispatch(request: IncomingMessage, response: ServerResponse, target: FrontTarget): Refusal | undefined {
    const { path, problem } = target;
    const headProblem = findHeadProblem(request);
    if (headProblem) {
      response.shouldKeepAlive = false;
      return { error: createRequestError(headProblem.detail, { status: headProblem.status }) };
    }
    if (problem !== undefined) return { error: createRequestError(problem) };
    if (path === '/livez' || path === '/readyz') return this.#sendHealth(response, path === '/readyz');
    const pageProblem = this.#pages.findProblem(request);
    if (pageProblem) return { error: pageProblem };
    if (this.#pages.respond(request, response)) return undefined;
    const { findCaller } = this.#settings;
    const caller = findCaller
      ? findCaller(getHeaderValues(request.rawHeaders, 'authorization'), request.socket)
      : ANONYMOUS;
    if (!caller) return { error: UNKNOWN_KEY };
    const error = this.#handleFrom(caller, request, response, target);
    return error && { error, caller };
  }

  /** Hands a request to the code for its path. Returns the error of one that is refused. */
  #handleFrom(
    caller: Caller,
    request: IncomingMessage,
    response: ServerResponse,
    { path, search, callPath }: FrontTarget,
  ): OpenaiError | undefined {
    const isMetrics = path === METRICS_PATH;
    if (!callPath && !isMetrics && !isModelsPath(path)) return createPathError(path);
    const methods = callPath ? CALL_METHODS : READ_METHODS;
    if (!methods.includes(request.method ?? '')) return createMethodError(request, methods);
    if (callPath) return this.#call(request, response, callPath, search, caller);
    if (isMetrics) return this.#sendMetrics(response, caller);
    void this.#sendModels(response, path, caller);
    return undefined;
  }

  #refuse(
    request: IncomingMessage,
    response: ServerResponse,
    { path, callPath }: FrontTarget,
    { error, caller }: Refusal,
  ): void {
    const refused: RefusedRequest = {
      method: request.method ?? '',
      path: truncateText(path, MAX_LOGGED_PATH),
      status: error.status,
      reason: error.message,
      host: request.socket.remoteAddress,
      caller: caller?.name,
    };
    if (callPath) ignoreBody(request, response, this.#clock);
    sendOpenaiError(response, error);
    this.#metrics.recordRefusal(refused);
    this.#settings.onRefuse(refused);
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
    if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return createEncodingError(encoding);
    this.#callsInProgress++;
    response.on('close', this.#onCallEnd);
    const handle = (endTrace?: EndTrace): void =>
      void this.#calls.handle(request, response, path, search === '' ? '' : `?${search}`, caller, endTrace);
    const { tracer } = this.#settings;
    if (tracer) tracer.serve(describeRequest(request), handle);
    else handle();
    return undefined;
  }

  /** Reports that it is not ready, handles requests for `delayMs`, and waits until no call is in progress, for at most `maxMs`. */
  async drain(listener: Listener, { delayMs = 0, maxMs = 0 }: DrainTimes): Promise<void> {
    this.#isDraining = true;
    listener.stopKeepAlive();
    if (delayMs > 0) await sleep(this.#clock, delayMs);
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
    const { renderMetrics = () => this.#metrics.render() } = this.#settings;
    renderMetrics().then(
      (text) => response.writeHead(200, { 'content-type': contentType }).end(text),
      (error) => sendOpenaiError(response, toOpenaiError(error, 0)),
    );
    return undefined;
  }

  /** Sends the list of models, or one entry of it. */
  async #sendModels(response: ServerResponse, path: string, caller: Caller): Promise<void> {
    if (!this.#fleet.isLoaded) await this.#fleet.waitForList();
    if (!this.#fleet.isLoaded) return sendOpenaiError(response, NO_LIST_ERROR);
    const isVisible = (model: string): boolean => this.#routes.isOffered(model, caller);
    const name = decodeModelName(path.slice(MODELS_PATH.length + 1));
    const entry =
      path === MODELS_PATH
        ? { object: 'list', data: this.#models.list(caller.selector.text, isVisible) }
        : this.#models.find(name, isVisible);
    if (entry) sendJson(response, entry);
    else sendOpenaiError(response, this.#routes.createUnknownModelError(name, caller));
  }
}

/** Why a request is refused, and its caller, if the key is known. */
interface Refusal {
  readonly error: OpenaiError;
  readonly caller?: Caller;
}

function describeRequest({ method = '', headers }: IncomingMessage): ServedCall {
  return { protocol: 'http', method, getHeader: (name) => headers[name]?.toString() };
}

function sendJson(response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(body.length) }).end(body);
}
