import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpCaller, OpenHttpCall } from '../client/http-calls/http-caller.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { Aliases } from './aliases.js';
import type { BodyBuffer } from './body-buffer.js';
import { findStatusError, NO_RETRY_HEADER, toOpenaiError } from './call-error.js';
import type { CallPath } from './call-paths.js';
import { filterResponseHeaders } from './forwarded-headers.js';
import { createUnknownModelError } from './model-list.js';
import { createRequestError, type OpenaiError, sendOpenaiError } from './openai-error.js';
import { type RequestModel, readRequestModel, replaceModel } from './request-model.js';
import { relayResponse } from './response-relay.js';
import type { Caller } from './steering.js';
import { getAffinityKey, type Steering, SteeringHeaders } from './steering.js';

/** A finished call, for logs and metrics. */
export interface FinishedCall {
  readonly caller: string | undefined;
  readonly path: string;
  readonly model: string | undefined;
  readonly replicaId: string | undefined;
  readonly status: number;
  readonly attempts: number;
  readonly durationMs: number;
  readonly responseBytes: number;
  /** Why the response is incomplete; undefined if it is complete. */
  readonly failure: string | undefined;
}

/** Options of {@link ModelCalls}. */
export interface ModelCallsOptions {
  readonly fleet: ModelFleet;
  readonly caller: HttpCaller;
  readonly bodies: BodyBuffer;
  readonly aliases: Aliases;
  /** Selects the request headers to pass on. */
  readonly filterHeaders: (rawHeaders: readonly string[]) => string[];
  /** Whether calls of one conversation go to the same replica. */
  readonly hasAffinity: boolean;
  readonly onFinish: (call: FinishedCall) => void;
  readonly clock: Clock;
}

/** Response header with the id of the replica that has responded. */
const REPLICA_HEADER = 'x-anyserve-replica';

/** Handles calls of models: finds the model in the request, calls a replica of it, and sends its response to the caller. */
export class ModelCalls {
  readonly #options: ModelCallsOptions;
  readonly #steering = new SteeringHeaders();

  constructor(options: ModelCallsOptions) {
    this.#options = options;
  }

  /** Returns whether a replica offers a model to a caller. */
  isOffered(model: string, caller: Caller): boolean {
    const steering = this.#steering.read([], caller);
    return !('problem' in steering) && this.#countReplicas([model], steering) > 0;
  }

  /** Creates the error for a name that stands for no model which is offered to a caller. */
  createUnknownModelError(model: string, caller: Caller): OpenaiError {
    return createUnknownModelError(
      model,
      this.#options.fleet.listModels().filter((name) => this.isOffered(name, caller)),
    );
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
    const call = new ModelCall(request, response, path, search, caller);
    const { bodies, onFinish, clock } = this.#options;
    const startedAtMs = clock.nowMs();
    const body = await bodies.read(request);
    const finish = (status: number, responseBytes: number, error: unknown): void =>
      onFinish({
        caller: caller.name,
        path: path.path,
        model: call.model,
        replicaId: call.replicaId,
        status,
        attempts: call.attempts,
        durationMs: clock.nowMs() - startedAtMs,
        responseBytes,
        failure: error === undefined ? undefined : getErrorMessage(error),
      });
    try {
      if (body.kind === 'aborted') return finish(499, 0, undefined);
      if (body.kind !== 'read') return this.#refuse(call, BODY_ERRORS[body.kind], finish);
      const result = await this.#open(call, body.pieces);
      if ('error' in result) return this.#refuse(call, result.error, finish);
      this.#relay(call, result.opened, finish);
    } catch (error) {
      this.#fail(call, error, finish);
    } finally {
      if (body.kind === 'read') bodies.release(body.bytes);
    }
  }

  /** Opens a call at a replica of the requested model, or of the first alias target that has one. */
  async #open(
    call: ModelCall,
    pieces: readonly Buffer[],
  ): Promise<{ readonly opened: OpenHttpCall } | { readonly error: OpenaiError }> {
    const { fleet, aliases, hasAffinity } = this.#options;
    const read = readRequestModel(pieces, call.contentType);
    if (read.kind === 'refused') return { error: createRequestError(read.message) };
    const { name } = read.model;
    call.model = name;
    const steering = this.#steering.read(call.request.rawHeaders, call.caller);
    if ('problem' in steering) return { error: createRequestError(steering.problem) };
    if (!fleet.isLoaded) await fleet.waitForList();
    const targets = aliases.get(name) ?? [name];
    if (read.hasPreviousResponse && this.#countReplicas(targets, steering) !== 1) return { error: STATEFUL_ERROR };
    const affinity = steering.affinity ?? (hasAffinity ? getAffinityKey(read, pieces) : undefined);
    for (const target of targets) {
      const body = target === name ? pieces : replaceModel(pieces, read, target);
      const isLast = target === targets.at(-1);
      try {
        return { opened: await this.#openAt(call, target, read, { steering, body, affinity }) };
      } catch (error) {
        if (isLast || !isWorthAnother(error) || call.isAbandoned) throw error;
      }
    }
    throw new AnyserveError('no_match', `no replica offers the model ${name}`);
  }

  #openAt(
    call: ModelCall,
    target: string,
    { isStream }: RequestModel,
    { steering, body, affinity }: { steering: Steering; body: readonly Buffer[]; affinity: string | undefined },
  ): Promise<OpenHttpCall> {
    const { fleet, caller, filterHeaders } = this.#options;
    const discovery = fleet.getDiscovery(target, 'http', steering.conditions, steering.text);
    const timeoutMs = call.path.isText ? DEFAULTS.textCallTimeoutMs : DEFAULTS.callTimeoutMs;
    return caller.open(
      discovery,
      {
        method: call.request.method ?? 'POST',
        path: call.path.path + call.search,
        headers: filterHeaders(call.request.rawHeaders),
        body,
        model: target,
        onAttempt: () => call.attempts++,
      },
      { affinity, onBegin: (cancel) => call.cancelWith(() => cancel(createAbandonedError())) },
      isStream ? DEFAULTS.streamTimeoutMs : timeoutMs,
    );
  }

  #relay(call: ModelCall, opened: OpenHttpCall, finish: Finish): void {
    const { attempt, response: incoming, end } = opened;
    const { replicaId } = attempt.target;
    call.replicaId = replicaId;
    call.cancelWith(() => incoming.fail(createAbandonedError()));
    const added =
      call.caller.canSteer && replicaId !== undefined ? [REPLICA_HEADER, encodeURIComponent(replicaId)] : [];
    relayResponse(incoming, call.response, added, ({ error, bytes }) => {
      if (error === undefined) attempt.succeed();
      else if (call.isAbandoned) attempt.abandon();
      else attempt.recordFailure(error);
      end();
      finish(call.isAbandoned ? 499 : incoming.head.status, bytes, call.isAbandoned ? undefined : error);
    });
  }

  /** Responds to a call that no replica has taken: with the response of the replica that failed last, if there is one. */
  #fail(call: ModelCall, thrown: unknown, finish: Finish): void {
    if (call.isAbandoned) {
      finish(499, 0, undefined);
      return;
    }
    const error = thrown instanceof AnyserveError ? thrown : new AnyserveError('internal', getErrorMessage(thrown));
    const failed = findStatusError(error);
    if (failed) {
      const { status, reason, headers, body } = failed.response;
      const noRetry = call.attempts > 1 ? Object.entries(NO_RETRY_HEADER).flat() : [];
      call.response.writeHead(status, reason, [...filterResponseHeaders(headers), ...noRetry]);
      for (const piece of body) call.response.write(piece);
      call.response.end();
      finish(status, 0, error);
      return;
    }
    const { model = '', caller } = call;
    const isUnknown = error.code === 'no_match' && !this.#isNamed(model, caller);
    const openaiError = isUnknown ? this.createUnknownModelError(model, caller) : toOpenaiError(error, call.attempts);
    this.#refuse(call, openaiError, finish);
  }

  #refuse(call: ModelCall, error: OpenaiError, finish: Finish): void {
    sendOpenaiError(call.response, error);
    finish(error.status, 0, error.status >= 500 ? error.message : undefined);
  }

  #countReplicas(targets: readonly string[], { conditions, text }: Steering): number {
    const { fleet } = this.#options;
    return Math.max(0, ...targets.map((target) => fleet.countReplicas(target, 'http', conditions, text)));
  }
}

type Finish = (status: number, responseBytes: number, error: unknown) => void;

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

const STATEFUL_ERROR = createRequestError(
  'previous_response_id refers to a response that one engine keeps, and several replicas offer this model; send the whole input',
  { param: 'previous_response_id' },
);

/** Returns whether the next model of an alias can do better than the one that has failed. */
function isWorthAnother(error: unknown): boolean {
  return error instanceof AnyserveError && (!error.isFinal || error.code === 'no_match');
}

function createAbandonedError(): AnyserveError {
  return new AnyserveError('cancelled', 'the caller has closed the connection');
}

/** A call in progress. */
class ModelCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: CallPath;
  readonly search: string;
  readonly caller: Caller;
  model: string | undefined;
  replicaId: string | undefined;
  attempts = 0;
  /** Whether the caller has closed its connection before the end of the response. */
  isAbandoned = false;
  #cancel = (): void => {};

  constructor(request: IncomingMessage, response: ServerResponse, path: CallPath, search: string, caller: Caller) {
    this.request = request;
    this.response = response;
    this.path = path;
    this.search = search;
    this.caller = caller;
    response.once('close', () => {
      if (response.writableFinished) return;
      this.isAbandoned = true;
      this.#cancel();
    });
  }

  get contentType(): string | undefined {
    return this.request.headers['content-type'];
  }

  /** Sets what happens when the caller closes its connection from now on. */
  cancelWith(cancel: () => void): void {
    this.#cancel = cancel;
    if (this.isAbandoned) cancel();
  }
}
