import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TableDiscovery } from '../client/balancing/table-discovery.js';
import { BusyError } from '../client/connection-errors.js';
import { getAffinityKey } from '../client/http-calls/affinity-key.js';
import { createRetryHeaders, findStatusError, STATEFUL_ERROR, toOpenaiError } from '../client/http-calls/call-error.js';
import { filterResponseHeaders, replaceHeaders } from '../client/http-calls/forwarded-headers.js';
import type { HttpCaller, OpenHttpCall } from '../client/http-calls/http-caller.js';
import type { HttpStatusError } from '../client/http-calls/http-failure.js';
import { createUnknownModelError, isTooLong } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from '../client/http-calls/openai-error.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import type { FinishedCall } from '../telemetry/finished-call.js';
import type { Aliases } from './aliases.js';
import type { BodyBuffer } from './body-buffer.js';
import type { CallPath } from './call-paths.js';
import { CallQueue, type QueueLimits } from './call-queue.js';
import { ABORTED_STATUS, ModelCall } from './model-call.js';
import { type RequestModel, readRequestModel, replaceModel } from './request-model.js';
import { endResponse, isEventStream, READ_TIMEOUT_MS, relayResponse } from './response-relay.js';
import type { Caller } from './steering.js';
import { type Steering, SteeringHeaders } from './steering.js';
import { findTokenUsage } from './token-usage.js';

/** Options of {@link ModelCalls}. */
export interface ModelCallsOptions extends QueueLimits {
  readonly fleet: ModelFleet;
  readonly caller: HttpCaller;
  readonly bodies: BodyBuffer;
  readonly aliases: Aliases;
  /** Selects the request headers to pass on. */
  readonly filterHeaders: (rawHeaders: readonly string[]) => string[];
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
      if ('status' in opened) this.#refuse(call, opened);
      else this.#relay(call, opened);
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
  async #open(call: ModelCall, pieces: readonly Buffer[]): Promise<OpenHttpCall | OpenaiError> {
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
    if (read.hasPreviousResponse && this.#countReplicas(targets, steering) !== 1) return STATEFUL_ERROR;
    const affinity = steering.affinity ?? (hasAffinity ? getAffinityKey(read, pieces) : undefined);
    const request = { read, pieces, steering, affinity };
    return this.#queue.run({
      line: `${targets.join('\n')}\n${steering.text}`,
      make: (onAttempt) => this.#openAny(call, targets, request, onAttempt),
      isBusy: () => targets.every((target) => this.#getDiscovery(target, steering).isBusy),
      canRepeat: () => call.attempts < MAX_ATTEMPTS && !call.isAbandoned,
      onWait: (stop) => call.cancelWith({ cancel: stop }),
    });
  }

  /** Opens a call at a replica of the first target that can take it. */
  async #openAny(
    call: ModelCall,
    targets: readonly string[],
    request: RoutedRequest,
    onAttempt: () => void,
  ): Promise<OpenHttpCall> {
    let busy: BusyError | undefined;
    for (const target of targets) {
      try {
        return await this.#openAt(call, target, request, onAttempt);
      } catch (error) {
        if (error instanceof BusyError) busy = busy && busy.retryAfterMs <= error.retryAfterMs ? busy : error;
        const isLast = target === targets.at(-1);
        if (isLast || !isWorthAnother(error) || call.isAbandoned) throw busy ?? error;
      }
    }
    throw new AnyserveError('no_match', `no replica offers the model ${call.model}`);
  }

  #getDiscovery(target: string, { conditions, text }: Steering): TableDiscovery {
    return this.#options.fleet.getDiscovery(target, 'http', conditions, text);
  }

  #openAt(
    call: ModelCall,
    target: string,
    { read, pieces, steering, affinity }: RoutedRequest,
    onAttempt: () => void,
  ): Promise<OpenHttpCall> {
    const { caller, filterHeaders } = this.#options;
    const { request, path, search } = call;
    const discovery = this.#getDiscovery(target, steering);
    const timeoutMs = path.isText ? DEFAULTS.textCallTimeoutMs : DEFAULTS.callTimeoutMs;
    return caller.open(
      discovery,
      {
        method: request.method ?? 'POST',
        path: path.path + search,
        headers: filterHeaders(request.rawHeaders),
        body: target === read.model.name ? pieces : replaceModel(pieces, read, target),
        model: target,
        onAttempt: () => {
          call.attempts++;
          onAttempt();
        },
      },
      { affinity, failWhenBusy: true, onBegin: (cancellation) => call.cancelWith(cancellation) },
      read.isStream ? DEFAULTS.streamTimeoutMs : timeoutMs,
    );
  }

  #relay(call: ModelCall, { attempt, response: incoming, end }: OpenHttpCall): void {
    const { replicaId } = attempt.target;
    call.replicaId = replicaId;
    if (isEventStream(incoming.head.headers)) call.recordFirstByte(this.#options.clock.nowMs());
    const addedHeaders =
      call.caller.canSteer && replicaId !== undefined
        ? [REPLICA_HEADER, encodeURIComponent(replicaId.toWellFormed())]
        : [];
    const readTimeoutMs = this.#readTimeoutMs;
    relayResponse(incoming, call.response, { addedHeaders, readTimeoutMs }, ({ error, bytes, tail }) => {
      call.usage = findTokenUsage(tail);
      if (error === undefined) attempt.succeed();
      else if (call.isAbandoned) attempt.abandon();
      else attempt.recordFailure(error);
      end();
      this.#finish(call, incoming.head.status, bytes, error);
    });
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

  #countReplicas(targets: readonly string[], steering: Steering): number {
    return Math.max(0, ...targets.map((target) => this.#getDiscovery(target, steering).count));
  }
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

/** Returns whether the next model of an alias can do better than the one that has failed. */
function isWorthAnother(error: unknown): boolean {
  return error instanceof AnyserveError && (!error.isFinal || error.code === 'no_match');
}
