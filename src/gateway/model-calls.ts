import type { IncomingMessage, ServerResponse } from 'node:http';
import { getAffinityKey } from '../client/http-calls/affinity-key.js';
import { createRetryHeaders, findStatusError, toOpenaiError } from '../client/http-calls/call-error.js';
import { createReplicaHeader, filterResponseHeaders, replaceHeaders } from '../client/http-calls/forwarded-headers.js';
import type { HttpStatusError } from '../client/http-calls/http-failure.js';
import { isTooLong } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from '../client/http-calls/openai-error.js';
import { createStatefulError } from '../client/http-calls/stored-state.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, EndTrace, Random } from '../core/ports.js';
import { quote, truncateText } from '../core/quoting.js';
import { UnorderedList } from '../core/unordered-list.js';
import { ignoreBody } from '../http/body-acceptance.js';
import { type FinishedCall, toTraceResult } from '../telemetry/finished-call.js';
import type { BodyBuffer } from './body-buffer.js';
import type { OpenResponse } from './call-backend.js';
import type { CallPath } from './call-paths.js';
import { CallQueue, type QueueLimits } from './call-queue.js';
import { ABORTED_STATUS, ModelCall } from './model-call.js';
import type { ModelRoutes } from './model-routes.js';
import { readRequestModel } from './request-model.js';
import { endResponse, READ_TIMEOUT_MS, writeHead } from './response-relay.js';
import { RoutedCall } from './routed-call.js';
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
    const body = await bodies.read(request, response);
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
    const read = readRequestModel(pieces, call.contentType, call.path.path);
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
    const { storedMember } = read;
    if (storedMember !== undefined && routes.hasSeveralEngines(targets, steering))
      return createStatefulError(storedMember);
    const affinity = steering.affinity ?? (hasAffinity ? getAffinityKey(read, pieces) : undefined);
    const possible = routes.list(call.path, name, steering);
    if (possible.length === 0) return createProtocolError(name, call.path);
    const request = { read, pieces, affinity, targets, conditionsText: steering.text };
    return this.#queue.run(new RoutedCall(call, possible, request));
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
    ignoreBody(call.request, call.response, this.#options.clock);
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
