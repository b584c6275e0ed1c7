import { DEFAULTS } from '../../core/defaults.js';
import { AnyserveError, getErrorMessage } from '../../core/errors.js';
import { raceWithAbort } from '../async-waits.js';
import { getAffinityKey } from '../http-calls/affinity-key.js';
import { createRetryHeaders, findStatusError, NO_LIST_ERROR, toOpenaiError } from '../http-calls/call-error.js';
import { createReplicaHeader, filterResponseHeaders, replaceHeaders } from '../http-calls/forwarded-headers.js';
import type { HttpCaller } from '../http-calls/http-caller.js';
import { createUnknownModelError, decodeModelName, ModelList } from '../http-calls/model-list.js';
import type { OpenaiError } from '../http-calls/openai-error.js';
import { createStatefulError } from '../http-calls/stored-state.js';
import type { CallConditions, ModelFleet } from '../model-fleet.js';
import {
  type FetchRequest,
  getPath,
  getSignal,
  type RequestedModel,
  readFetchRequest,
  readRequestedModel,
} from './fetch-request.js';
import { createFetchResponse, createOpenaiErrorResponse, createReplicaResponse } from './fetch-response.js';

/** Options of an {@link OpenaiFetch}. */
export interface OpenaiFetchOptions {
  readonly fleet: ModelFleet;
  readonly caller: HttpCaller;
  /** Conditions that the replicas of all calls meet. */
  readonly conditions: CallConditions;
  /** Selects the request headers to pass on. */
  readonly filterHeaders: (headers: readonly string[]) => string[];
  /** Whether calls of one conversation go to the same replica. */
  readonly hasAffinity: boolean;
  /** Timeout of every call, in ms; undefined for the default of its kind. */
  readonly timeoutMs: number | undefined;
  readonly startedEpochMs: number;
}

const MODELS_PATH = '/models';

const NO_ALIASES = new Map<string, readonly string[]>();

/** Stands for the conditions of all calls, which are always the same. */
const CONDITIONS_TEXT = 'fetch';

/** Makes the requests of an OpenAI client at replicas that offer the model of each. */
export class OpenaiFetch {
  readonly #options: OpenaiFetchOptions;
  readonly #models: ModelList;

  constructor(options: OpenaiFetchOptions) {
    this.#options = options;
    this.#models = new ModelList(options.fleet, NO_ALIASES, options.startedEpochMs);
  }

  /** Makes a request. Rejects only if its signal is aborted, or if its arguments are not valid. */
  async fetch(...args: Parameters<typeof fetch>): Promise<Response> {
    const signal = getSignal(args);
    signal?.throwIfAborted();
    const request = await readFetchRequest(args);
    const path = getPath(request);
    if (request.method === 'GET' && (path === MODELS_PATH || path.startsWith(`${MODELS_PATH}/`)))
      return this.#listModels(request, path, signal);
    const requested = await readRequestedModel(request);
    if (requested.kind === 'refused') return createOpenaiErrorResponse(request.url.href, requested.error);
    return this.#call(request, path, requested, signal);
  }

  /** Responds with the list of models, or with one entry of it. */
  async #listModels({ url }: FetchRequest, path: string, signal: AbortSignal | undefined): Promise<Response> {
    const { fleet } = this.#options;
    if (!fleet.isLoaded) await raceWithAbort(fleet.waitForList(), signal);
    if (!fleet.isLoaded) return createOpenaiErrorResponse(url.href, NO_LIST_ERROR);
    const isVisible = (model: string): boolean => this.#count(model) > 0;
    const name = decodeModelName(path.slice(MODELS_PATH.length + 1));
    const entry =
      path === MODELS_PATH
        ? { object: 'list', data: this.#models.list('', isVisible) }
        : this.#models.find(name, isVisible);
    if (!entry) return createOpenaiErrorResponse(url.href, this.#createUnknownModelError(name));
    const headers = ['content-type', 'application/json'];
    return createFetchResponse(url.href, { status: 200, statusText: 'OK', headers, body: JSON.stringify(entry) });
  }

  async #call(
    request: FetchRequest,
    path: string,
    requested: RequestedModel,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { fleet, caller, conditions, filterHeaders, hasAffinity, timeoutMs } = this.#options;
    const { model, isStream, storedMember } = requested;
    const { url } = request;
    const target = path + url.search;
    const body = [request.body];
    let attempts = 0;
    try {
      if (storedMember !== undefined) {
        if (!fleet.isLoaded) await raceWithAbort(fleet.waitForList(), signal);
        if (this.#count(model) > 1) return createOpenaiErrorResponse(url.href, createStatefulError(storedMember));
      }
      const opened = await caller.open(
        fleet.getDiscovery(model, 'http', conditions, CONDITIONS_TEXT),
        {
          method: request.method,
          path: target,
          headers: filterHeaders(request.headers),
          body,
          model,
          onAttempt: () => attempts++,
        },
        { affinity: hasAffinity ? getAffinityKey(requested, body) : undefined, signal, timeoutMs },
        isStream ? DEFAULTS.streamTimeoutMs : DEFAULTS.textCallTimeoutMs,
      );
      return createReplicaResponse(opened, target);
    } catch (error) {
      signal?.throwIfAborted();
      return this.#createFailureResponse(url.href, model, error, attempts);
    }
  }

  /** Creates the response to a call that no replica has taken: that of the replica that failed last, if there is one. */
  #createFailureResponse(url: string, model: string, thrown: unknown, attempts: number): Response {
    const error = thrown instanceof AnyserveError ? thrown : new AnyserveError('internal', getErrorMessage(thrown));
    const failed = findStatusError(error);
    if (failed) {
      const { status, reason, headers: received, body } = failed.response;
      const headers = replaceHeaders(filterResponseHeaders(received, status), createRetryHeaders(error, attempts));
      headers.push(...createReplicaHeader(failed.target.replicaId));
      return createFetchResponse(url, { status, statusText: reason, headers, body: Buffer.concat(body) });
    }
    const isUnknown = error.code === 'no_match' && this.#count(model) === 0;
    return createOpenaiErrorResponse(
      url,
      isUnknown ? this.#createUnknownModelError(model) : toOpenaiError(error, attempts),
    );
  }

  #createUnknownModelError(model: string): OpenaiError {
    const { fleet } = this.#options;
    return createUnknownModelError(model, fleet.listModels(), (name) => this.#count(name) > 0);
  }

  /** Counts the replicas that offer a model, in any state. */
  #count(model: string): number {
    const { fleet, conditions } = this.#options;
    return fleet.getDiscovery(model, 'http', conditions, CONDITIONS_TEXT).count;
  }
}
