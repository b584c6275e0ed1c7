import type { IncomingMessage, ServerResponse } from 'node:http';
import { BrokenConnectionError, BusyError } from '../client/connection-errors.js';
import { getAffinityKey } from '../client/http-calls/affinity-key.js';
import {
  createRetryHeaders,
  findCause,
  findStatusError,
  STATEFUL_ERROR,
  toOpenaiError,
} from '../client/http-calls/call-error.js';
import { createReplicaHeader, filterResponseHeaders, replaceHeaders } from '../client/http-calls/forwarded-headers.js';
import type { HttpStatusError } from '../client/http-calls/http-failure.js';
import { isTooLong } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from '../client/http-calls/openai-error.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, EndTrace, Random } from '../core/ports.js';
import { quote, truncateText } from '../core/quoting.js';
import { UnorderedList } from '../core/unordered-list.js';
import { type FinishedCall, toTraceResult } from '../telemetry/finished-call.js';
import type { BodyBuffer } from './body-buffer.js';
import type { OpenResponse } from './call-backend.js';
import type { CallPath } from './call-paths.js';
import { CallQueue, type QueueLimits } from './call-queue.js';
import { ABORTED_STATUS, ModelCall } from './model-call.js';
import type { CallRoute, ModelRoutes } from './model-routes.js';
import { type RequestModel, readRequestModel, replaceModel } from './request-model.js';
import { endResponse, READ_TIMEOUT_MS, writeHead } from './response-relay.js';
import type { Caller } from './steering.js';
import { findTokenUsage } from './token-usage.js';

/** Options of {@link ModelCalls}. */
export interface ModelCallsOptions extends QueueLimits {
  readonly fleet: ModelFleet;
  readonly routes: ModelRoutes;
  readonly bodies: BodyBuffer;
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

/** Handles calls of models: finds the model in the request, calls a replica of it, and sends its response to the caller. */
export class ModelCalls {
  readonly #options: ModelCallsOptions;
  readonly #readTimeoutMs: number;
  readonly #inProgress = new UnorderedList<ModelCall>();
  readonly #queue: CallQueue;

  constructor(options: ModelCallsOptions) {
    this.#options = options;
    this.#queue = new CallQueue(options, options.clock, options.random);
    this.#readTimeoutMs = options.readTimeoutMs ?? READ_TIMEOUT_MS;
  }

  /** The calls in progress. */
  listInProgress(): Iterable<ModelCall> {
    return this.#inProgress;
  }

  /** Handles a request. `search` is the query string with its `?`. Never rejects. */
  async handle(
    request: IncomingMessage,
    response: ServerResponse,
    path: CallPath,
    search: string,
    caller: Caller,
    endTrace?: EndTrace,
  ): Promise<void> {
    const { bodies, clock } = this.#options;
    const call = new ModelCall(request, response, path, search, caller, clock.nowMs());
    call.endTrace = endTrace;
    this.#inProgress.add(call);
    const body = await bodies.read(request);
    if (body.kind === 'aborted') return this.#finish(call, ABORTED_STATUS, 0, undefined);
    if (body.kind !== 'read') return this.#refuse(call, BODY_ERRORS[body.kind]);
    call.bodyBytes = body.bytes;
    try {
      const opened = await this.#open(call, body.pieces);
      if ('send' in opened) this.#relay(call, opened);
      else this.#refuse(call, opened);
    } catch (error) {
      this.#fail(call, error);
    }
  }

  /**
   * Opens a call at a replica of the requested model, or of the first alias target that has one. Returns the error of a request
   * that is refused.
   */
  async #open(call: ModelCall, pieces: readonly Buffer[]): Promise<OpenResponse | OpenaiError> {
    const { fleet, routes, hasAffinity } = this.#options;
    const read = readRequestModel(pieces, call.contentType);
    if (read.kind === 'refused') return createRequestError(read.message);
    const { name } = read.model;
    if (isTooLong(name) && !routes.isAlias(name)) {
      call.model = truncateText(name, MAX_LOGGED_UNITS);
      return routes.createUnknownModelError(name, call.caller);
    }
    call.model = name;
    const steering = routes.readSteering(call.request.rawHeaders, call.caller);
    if ('problem' in steering) return createRequestError(steering.problem);
    if (!fleet.isLoaded) await fleet.waitForList();
    const targets = routes.listTargets(name);
    if (read.hasPreviousResponse && routes.hasSeveralEngines(targets, steering)) return STATEFUL_ERROR;
    const affinity = steering.affinity ?? (hasAffinity ? getAffinityKey(read, pieces) : undefined);
    const request = { read, pieces, affinity };
    const possible = targets.flatMap((target) => routes.list(call.path, target, steering));
    if (possible.length === 0) return createProtocolError(name, call.path);
    return this.#queue.run({
      getLine: () => `${targets.join('\n')}\n${steering.text}`,
      make: (onAttempt) => this.#openAny(call, possible, request, onAttempt),
      isBusy: () => possible.every(({ discovery }) => discovery.isBusy),
      canRepeat: () => call.attempts < MAX_ATTEMPTS && !call.isAbandoned,
      onWait: (stop) => {
        call.isWaiting = true;
        call.cancelWith({ cancel: stop });
      },
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
        if (isLast || !isWorthAnother(error, call.attempts) || call.isAbandoned) throw busy ?? error;
      }
    }
    throw new AnyserveError('no_match', `no replica offers the model ${call.model}`);
  }

  #openAt(
    call: ModelCall,
    { target, backend, discovery }: CallRoute,
    { read, pieces, affinity }: RoutedRequest,
    onAttempt: () => void,
  ): Promise<OpenResponse> {
    return backend.open({
      request: call.request,
      path: call.path,
      search: call.search,
      target,
      discovery,
      read,
      body: target === read.model.name ? pieces : replaceModel(pieces, read, target),
      affinity,
      caller: call.caller.name,
      onAttempt: () => {
        call.attempts++;
        call.isWaiting = false;
        onAttempt();
      },
      onBegin: (cancellation) => call.cancelWith(cancellation),
    });
  }

  #relay(call: ModelCall, opened: OpenResponse): void {
    const { replicaId, status, isEventStream, keepsRequest } = opened;
    if (!keepsRequest) this.#releaseBody(call);
    call.replicaId = replicaId;
    if (isEventStream) call.recordFirstByte(this.#options.clock.nowMs());
    const addedHeaders = call.caller.canSteer ? createReplicaHeader(replicaId) : [];
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
    else this.#refuse(call, this.#toOpenaiError(call, error), error);
  }

  #sendFailed(
    call: ModelCall,
    { response: { status, reason, headers, body }, target: { replicaId } }: HttpStatusError,
    error: AnyserveError,
  ): void {
    call.replicaId = replicaId;
    const received = filterResponseHeaders(headers, status);
    const sent = replaceHeaders(received, createRetryHeaders(error, call.attempts));
    if (call.caller.canSteer) sent.push(...createReplicaHeader(replicaId));
    writeHead(call.response, status, reason, sent);
    for (const piece of body) call.response.write(piece);
    endResponse(call.response, this.#readTimeoutMs);
    this.#finish(call, status, 0, error);
  }

  #toOpenaiError({ model = '', caller, attempts, request }: ModelCall, error: AnyserveError): OpenaiError {
    const { routes } = this.#options;
    const noMatch =
      error.code === 'no_match' ? routes.createNoMatchError(model, request.rawHeaders, caller) : undefined;
    return noMatch ?? toOpenaiError(error, attempts);
  }

  /** `cause`: what the log describes. Default: the message of the response. */
  #refuse(call: ModelCall, error: OpenaiError, cause: unknown = error.message): void {
    sendOpenaiError(call.response, error);
    this.#finish(call, error.status, 0, error.status >= 500 ? cause : undefined);
  }

  /** Gives the memory of a request back. */
  #releaseBody(call: ModelCall): void {
    this.#options.bodies.release(call.bodyBytes);
    call.bodyBytes = 0;
  }

  #finish(call: ModelCall, status: number, responseBytes: number, error: unknown): void {
    const { onFinish, clock } = this.#options;
    this.#inProgress.delete(call);
    this.#releaseBody(call);
    const finished = call.describe(status, responseBytes, error, clock.nowMs());
    call.endTrace?.(toTraceResult(finished));
    onFinish(finished);
  }
}

/** A request that can be sent to a replica. */
interface RoutedRequest {
  readonly read: RequestModel;
  readonly pieces: readonly Buffer[];
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

/** Number of attempts from which a replica that dies is the last: an input that crashes engines must not reach those of all models. */
const MAX_CRASHES = 2;

/** Returns whether the next model of an alias can do better than the one that has failed. */
function isWorthAnother(error: unknown, attempts: number): boolean {
  if (!(error instanceof AnyserveError)) return false;
  if (attempts >= MAX_CRASHES && findCause(error, BrokenConnectionError)) return false;
  return !error.isFinal || error.code === 'no_match';
}
