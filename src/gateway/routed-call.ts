import { BrokenConnectionError, BusyError } from '../client/connection-errors.js';
import { findCause } from '../client/http-calls/call-error.js';
import { AnyserveError } from '../core/errors.js';
import type { OpenResponse } from './call-backend.js';
import type { QueuedCall } from './call-queue.js';
import type { ModelCall } from './model-call.js';
import type { CallRoute } from './model-routes.js';
import { type RequestModel, replaceModel } from './request-model.js';

/** A request that can be sent to a replica. */
export interface RoutedRequest {
  readonly read: RequestModel;
  readonly pieces: readonly Buffer[];
  readonly affinity: string | undefined;
  /** Names of the models that the requested one stands for. */
  readonly targets: readonly string[];
  /** Stands for the conditions that replicas must meet. */
  readonly conditionsText: string;
}

/** Maximum number of attempts of a call after which it does not wait for another. */
const MAX_ATTEMPTS = 3;

/** Number of attempts from which a replica that dies is the last: an input that crashes engines must not reach those of all models. */
const MAX_CRASHES = 2;

/** A call with the routes that it can take. It is one object, because each function in its place would take memory for every call. */
export class RoutedCall implements QueuedCall<OpenResponse> {
  readonly #call: ModelCall;
  readonly #routes: readonly CallRoute[];
  readonly #request: RoutedRequest;

  constructor(call: ModelCall, routes: readonly CallRoute[], request: RoutedRequest) {
    this.#call = call;
    this.#routes = routes;
    this.#request = request;
  }

  getLine(): string {
    const { targets, conditionsText } = this.#request;
    return `${targets.join('\n')}\n${conditionsText}`;
  }

  /** Opens the call at a replica of the first route that can take it. */
  make(onAttempt: () => void): Promise<OpenResponse> {
    const [first, next] = this.#routes;
    return first && !next ? this.#open(first, onAttempt) : this.#openFirst(onAttempt);
  }

  isBusy(): boolean {
    return this.#routes.every(({ discovery }) => discovery.isBusy);
  }

  canRepeat(): boolean {
    return this.#call.attempts < MAX_ATTEMPTS && !this.#call.isAbandoned;
  }

  onWait(stop: () => void): void {
    this.#call.isWaiting = true;
    this.#call.cancelWith({ cancel: stop });
  }

  async #openFirst(onAttempt: () => void): Promise<OpenResponse> {
    const [call, routes] = [this.#call, this.#routes];
    let busy: BusyError | undefined;
    for (const [index, route] of routes.entries()) {
      try {
        return await this.#open(route, onAttempt);
      } catch (error) {
        if (error instanceof BusyError) busy = busy && busy.retryAfterMs <= error.retryAfterMs ? busy : error;
        const isLast = index === routes.length - 1;
        if (isLast || !isWorthAnother(error, call.attempts) || call.isAbandoned) throw busy ?? error;
      }
    }
    throw new AnyserveError('no_match', `no replica offers the model ${call.model}`);
  }

  #open({ target, backend, discovery }: CallRoute, onAttempt: () => void): Promise<OpenResponse> {
    const call = this.#call;
    const { read, pieces, affinity } = this.#request;
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
}

/** Returns whether the next model of an alias can do better than the one that has failed. */
function isWorthAnother(error: unknown, attempts: number): boolean {
  if (!(error instanceof AnyserveError)) return false;
  if (attempts >= MAX_CRASHES && findCause(error, BrokenConnectionError)) return false;
  return !error.isFinal || error.code === 'no_match';
}
