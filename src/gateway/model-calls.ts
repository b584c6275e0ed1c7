import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TableDiscovery } from '../client/balancing/table-discovery.js';
import { BusyError } from '../client/connection-errors.js';
import { getAffinityKey } from '../client/http-calls/affinity-key.js';
import { createRetryHeaders, findStatusError, STATEFUL_ERROR, toOpenaiError } from '../client/http-calls/call-error.js';
import { filterResponseHeaders, replaceHeaders } from '../client/http-calls/forwarded-headers.js';
import type { HttpStatusError } from '../client/http-calls/http-failure.js';
import { createUnknownModelError, isTooLong } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from '../client/http-calls/openai-error.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import type { Protocol } from '../core/protocol.js';
import { quote, truncateText } from '../core/quoting.js';
import type { FinishedCall } from '../telemetry/finished-call.js';
import type { Aliases } from './aliases.js';
import type { BodyBuffer } from './body-buffer.js';
import type { CallBackend, OpenResponse } from './call-backend.js';
import type { CallPath } from './call-paths.js';
import { CallQueue, type QueueLimits } from './call-queue.js';
import { ABORTED_STATUS, ModelCall } from './model-call.js';
import { type RequestModel, readRequestModel, replaceModel } from './request-model.js';
import { endResponse, READ_TIMEOUT_MS } from './response-relay.js';
import type { Caller } from './steering.js';
import { type Steering, SteeringHeaders } from './steering.js';
import { findTokenUsage } from './token-usage.js';

/** Options of {@link ModelCalls}. */
export interface ModelCallsOptions extends QueueLimits {
  readonly fleet: ModelFleet;
  /** Ways of calling replicas, the preferred one first. */
  readonly backends: readonly CallBackend[];
  readonly bodies: BodyBuffer;
  readonly aliases: Aliases;
  /** Whether calls of one conversation go to the same replica. */
  readonly hasAffinity: boolean;
  /** Timeout for a caller that reads nothing of its response, in ms. Default: 30,000. */
  readonly readTimeoutMs?: number | undefined;
  readonly onFinish: (call: FinishedCall) => void;
  readonly clock: Clock;
  readonly random: Random;
}

/** Maximum length of a model's name in logs, in UTF-16 units. */
const MAX_LOGGED_UNITS = 256;

/** Maximum number of attempts of a call after which it does not wait for another. */
const MAX_ATTEMPTS = 3;

/** Response header with the id of the replica that has responded. */
const REPLICA_HEADER = 'x-anyserve-replica';

/** Handles calls of models: finds the model in the request, calls a replica of it, and sends its response to the caller. */
export class ModelCalls {
  readonly #options: ModelCallsOptions;
  readonly #steering = new SteeringHeaders();
  readonly #readTimeoutMs: number;

  readonly #queue: CallQueue;

  constructor(options: ModelCallsOptions) {
    this.#options = options;
    this.#queue = new CallQueue(options, options.clock, options.random);
    this.#readTimeoutMs = options.readTimeoutMs ?? READ_TIMEOUT_MS;
  }

  /** Number of calls that wait for a replica. */
  get waitingCount(): number {
    return this.#queue.length;
  }

  /** Returns whether a replica offers a model to a caller. */
  isOffered(model: string, caller: Caller): boolean {
    if (isTooLong(model)) return false;
    const steering = this.#steering.read([], caller);
    return !('problem' in steering) && this.#countReplicas([model], steering) > 0;
  }

  /** Creates the error for a name that stands for no model which is offered to a caller. */
  createUnknownModelError(model: string, caller: Caller): OpenaiError {
    return createUnknownModelError(model, this.#options.fleet.listModels(), (name) => this.isOffered(name, caller));
  }

  /** Returns whether a name is that of a model which is offered to a caller, or an alias of one. */
  #isNamed(name: string, caller: Caller): boolean {
    return (this.#options.aliases.get(name) ?? [name]).some((model) => this.isOffered(model, caller));
  }

  /** Handles a request. `search` is the query string with its `?`. Never rejects. */
  async handle(
    request: IncomingMessage,
    response: ServerResponse,
    path: CallPath,
    search: string,
    caller: Caller,
  ): Promise<void> {
    const { bodies, clock } = this.#options;
    const call = new ModelCall(request, response, path, search, caller, clock.nowMs());
    const body = await bodies.read(request);
    if (body.kind === 'aborted') return this.#finish(call, ABORTED_STATUS, 0, undefined);
    if (body.kind !== 'read') return this.#refuse(call, BODY_ERRORS[body.kind]);
    try {
      const opened = await this.#open(call, body.pieces);
      if ('send' in opened) this.#relay(call, opened);
      else this.#refuse(call, opened);
    } catch (error) {
      this.#fail(call, error);
    } finally {
      bodies.release(body.bytes);
    }
  }

  /**
   * Opens a call at a replica of the requested model, or of the first alias target that has one. Returns the error of a request
   * that is refused.
   */
  async #open(call: ModelCall, pieces: readonly Buffer[]): Promise<OpenResponse | OpenaiError> {
    const { fleet, aliases, hasAffinity } = this.#options;
    const read = readRequestModel(pieces, call.contentType);
    if (read.kind === 'refused') return createRequestError(read.message);
    const { name } = read.model;
    if (isTooLong(name) && !aliases.has(name)) {
      call.model = truncateText(name, MAX_LOGGED_UNITS);
      return this.createUnknownModelError(name, call.caller);
    }
    call.model = name;
    const steering = this.#steering.read(call.request.rawHeaders, call.caller);
    if ('problem' in steering) return createRequestError(steering.problem);
    if (!fleet.isLoaded) await fleet.waitForList();
    const targets = aliases.get(name) ?? [name];
    if (read.hasPreviousResponse && this.#countReplicas(targets, steering, ['http']) !== 1) return STATEFUL_ERROR;
    const affinity = steering.affinity ?? (hasAffinity ? getAffinityKey(read, pieces) : undefined);
    const request = { read, pieces, steering, affinity };
    const routes = targets.flatMap((target) => this.#listRoutes(call.path, target, steering));
    if (routes.length === 0) return createProtocolError(name, call.path);
    return this.#queue.run({
      line: `${targets.join('\n')}\n${steering.text}`,
      make: (onAttempt) => this.#openAny(call, routes, request, onAttempt),
      isBusy: () =>
        routes.every(({ target, backend }) => this.#getDiscovery(target, backend.protocol, steering).isBusy),
      canRepeat: () => call.attempts < MAX_ATTEMPTS && !call.isAbandoned,
      onWait: (stop) => call.cancelWith({ cancel: stop }),
    });
  }

  /** Opens a call at a replica of the first route that can take it. */
  async #openAny(
    call: ModelCall,
    routes: readonly CallRoute[],
    request: RoutedRequest,
    onAttempt: () => void,
  ): Promise<OpenResponse> {
    let busy: BusyError | undefined;
    for (const [index, route] of routes.entries()) {
      try {
        return await this.#openAt(call, route, request, onAttempt);
      } catch (error) {
        if (error instanceof BusyError) busy = busy && busy.retryAfterMs <= error.retryAfterMs ? busy : error;
        const isLast = index === routes.length - 1;
        if (isLast || !isWorthAnother(error) || call.isAbandoned) throw busy ?? error;
      }
    }
    throw new AnyserveError('no_match', `no replica offers the model ${call.model}`);
  }

  /**
   * Lists the backends with replicas of a model, in the order in which they are tried. For a model without any replica, it is the
   * first backend, which waits for replicas after the start of an API server.
   */
  #listRoutes(path: CallPath, target: string, steering: Steering): readonly CallRoute[] {
    const { backends } = this.#options;
    const found = backends.filter(({ protocol }) => this.#countReplicas([target], steering, [protocol]) > 0);
    const usable = (found.length > 0 ? found : backends.slice(0, 1)).filter((backend) => backend.supports(path));
    return usable.map((backend) => ({ target, backend }));
  }

  #getDiscovery(target: string, protocol: Protocol, { conditions, text }: Steering): TableDiscovery {
    return this.#options.fleet.getDiscovery(target, protocol, conditions, text);
  }

  #openAt(
    call: ModelCall,
    { target, backend }: CallRoute,
    { read, pieces, steering, affinity }: RoutedRequest,
    onAttempt: () => void,
  ): Promise<OpenResponse> {
    return backend.open({
      request: call.request,
      path: call.path,
      search: call.search,
      target,
      read,
      body: target === read.model.name ? pieces : replaceModel(pieces, read, target),
      steering,
      affinity,
      onAttempt: () => {
        call.attempts++;
        onAttempt();
      },
      onBegin: (cancellation) => call.cancelWith(cancellation),
    });
  }

  #relay(call: ModelCall, opened: OpenResponse): void {
    const { replicaId, status, isEventStream } = opened;
    call.replicaId = replicaId;
    if (isEventStream) call.recordFirstByte(this.#options.clock.nowMs());
    const addedHeaders =
      call.caller.canSteer && replicaId !== undefined
        ? [REPLICA_HEADER, encodeURIComponent(replicaId.toWellFormed())]
        : [];
    opened.send(
      call.response,
      { addedHeaders, readTimeoutMs: this.#readTimeoutMs },
      () => call.isAbandoned,
      ({ error, bytes, tail }) => {
        call.usage = findTokenUsage(tail);
        this.#finish(call, status, bytes, error);
      },
    );
  }

  /** Responds to a call that no replica has taken: with the response of the replica that failed last, if there is one. */
  #fail(call: ModelCall, thrown: unknown): void {
    const error = thrown instanceof AnyserveError ? thrown : new AnyserveError('internal', getErrorMessage(thrown));
    const failed = findStatusError(error);
    if (call.isAbandoned) this.#finish(call, ABORTED_STATUS, 0, undefined);
    else if (failed) this.#sendFailed(call, failed, error);
    else this.#refuse(call, this.#toOpenaiError(call, error));
  }

  #sendFailed(
    call: ModelCall,
    { response: { status, reason, headers, body } }: HttpStatusError,
    error: AnyserveError,
  ): void {
    const received = filterResponseHeaders(headers, status);
    call.response.writeHead(status, reason, replaceHeaders(received, createRetryHeaders(error, call.attempts)));
    for (const piece of body) call.response.write(piece);
    endResponse(call.response, this.#readTimeoutMs);
    this.#finish(call, status, 0, error);
  }

  #toOpenaiError({ model = '', caller, attempts }: ModelCall, error: AnyserveError): OpenaiError {
    const isUnknown = error.code === 'no_match' && !this.#isNamed(model, caller);
    return isUnknown ? this.createUnknownModelError(model, caller) : toOpenaiError(error, attempts);
  }

  #refuse(call: ModelCall, error: OpenaiError): void {
    sendOpenaiError(call.response, error);
    this.#finish(call, error.status, 0, error.status >= 500 ? error.message : undefined);
  }

  #finish(call: ModelCall, status: number, responseBytes: number, error: unknown): void {
    const { onFinish, clock } = this.#options;
    onFinish(call.describe(status, responseBytes, error, clock.nowMs()));
  }

  #countReplicas(
    targets: readonly string[],
    steering: Steering,
    protocols: readonly Protocol[] = this.#options.backends.map(({ protocol }) => protocol),
  ): number {
    const count = (target: string): number =>
      protocols.reduce((sum, protocol) => sum + this.#getDiscovery(target, protocol, steering).count, 0);
    return Math.max(0, ...targets.map(count));
  }
}

/** A model at the replicas of one protocol. */
interface CallRoute {
  readonly target: string;
  readonly backend: CallBackend;
}

/** A request that can be sent to a replica. */
interface RoutedRequest {
  readonly read: RequestModel;
  readonly pieces: readonly Buffer[];
  readonly steering: Steering;
  readonly affinity: string | undefined;
}

const BODY_ERRORS: Readonly<Record<'too_large' | 'no_room', OpenaiError>> = {
  too_large: createRequestError('the request body is too large; --max-body-bytes of the gateway sets the limit', {
    status: 413,
    code: 'request_too_large',
  }),
  no_room: {
    status: 503,
    message: 'the gateway has no memory for another large request; --buffer-limit sets the limit',
    type: 'server_error',
    code: 'overloaded',
    headers: { 'retry-after': '1' },
  },
};

/** Creates the error for a path that only replicas with an HTTP endpoint serve, for a model of others. */
function createProtocolError(model: string, { path }: CallPath): OpenaiError {
  return createRequestError(
    `the replicas of ${quote(model)} speak gRPC, and ${path} is not translated for them; use /chat/completions, /completions or /embeddings`,
    { code: 'unsupported_path' },
  );
}

/** Returns whether the next model of an alias can do better than the one that has failed. */
function isWorthAnother(error: unknown): boolean {
  return error instanceof AnyserveError && (!error.isFinal || error.code === 'no_match');
}
