import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { quote } from '../core/quoting.js';
import { isDatatype } from '../inference/datatype.js';
import type { ModelMetadataResponse_TensorMetadata as TensorMetadata } from '../inference/gen/open_inference.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import type { TensorSpec } from '../inference/tensor-spec.js';
import type { ActiveCalls } from './cancellation.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/** Timeout for the metadata of a model, in ms. */
const METADATA_TIMEOUT_MS = 3000;

/** The inputs that a model declares, by name; undefined for an input whose datatype isn't one of the protocol. */
export type InputSpecs = ReadonlyMap<string, TensorSpec | undefined>;

/** The declaration of a model at one server. */
export interface DeclaredModel {
  /** Kind of engine or framework, such as `openai`. Empty if it is not declared. */
  readonly platform: string;
  readonly inputs: InputSpecs;
}

/** A model that declares nothing, or whose server has no metadata. */
export const UNDECLARED_MODEL: DeclaredModel = { platform: '', inputs: new Map() };

/** A metadata request that all calls of the same model share. */
interface MetadataRequest {
  readonly promise: Promise<DeclaredModel>;
  /** The result, once it has arrived. */
  declared: DeclaredModel | undefined;
}

/**
 * Gets what models declare, and caches it with the channel. A temporary failure isn't cached; it counts as
 * {@link UNDECLARED_MODEL} for the calls that wait, because the declaration is only a hint.
 */
export class DeclaredModelCache {
  readonly #clock: Clock;
  readonly #activeCalls: ActiveCalls;
  readonly #requests = new WeakMap<InferenceChannel, Map<string, MetadataRequest>>();

  constructor(clock: Clock, activeCalls: ActiveCalls) {
    this.#clock = clock;
    this.#activeCalls = activeCalls;
  }

  /** Returns what a model declares. Returns no promise if they are cached. Rejects if the call is cancelled. */
  get(
    channel: InferenceChannel,
    model: string,
    version: string,
    call: CallOptions,
  ): DeclaredModel | Promise<DeclaredModel> {
    let requests = this.#requests.get(channel);
    if (!requests) {
      requests = new Map();
      this.#requests.set(channel, requests);
    }
    const key = `${version.length} ${version}${model}`;
    const request = requests.get(key) ?? this.#startRequest(channel, model, version, requests, key);
    return request.declared ?? this.#waitFor(request, `${channel.endpoint}: model ${quote(model)}`, call);
  }

  #startRequest(
    channel: InferenceChannel,
    model: string,
    version: string,
    requests: Map<string, MetadataRequest>,
    key: string,
  ): MetadataRequest {
    const cancellation = this.#activeCalls.begin();
    channel.acquire();
    const deadlineEpochMs = this.#clock.epochMs() + METADATA_TIMEOUT_MS;
    const promise = requestDeclaredModel(channel, model, version, { deadlineEpochMs, cancellation }).finally(() => {
      channel.release();
      cancellation.end();
    });
    const request: MetadataRequest = { promise, declared: undefined };
    requests.set(key, request);
    promise.then(
      (declared) => {
        request.declared = declared;
      },
      () => requests.delete(key),
    );
    return request;
  }

  /** Waits for a request until the call's deadline. A cancelled call doesn't cancel the request, which others can share. */
  #waitFor(
    { promise }: MetadataRequest,
    label: string,
    { deadlineEpochMs, cancellation }: CallOptions,
  ): Promise<DeclaredModel> {
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.schedule(deadlineEpochMs - this.#clock.epochMs(), () =>
        reject(
          new AnyserveError('deadline_exceeded', `${label}: the server did not send the model's metadata in time`),
        ),
      );
      const settle = (declared: DeclaredModel): void => {
        cancelTimer();
        resolve(declared);
      };
      promise.then(settle, () => settle(UNDECLARED_MODEL));
      if (!cancellation) return;
      cancellation.stop = () => {
        cancelTimer();
        reject(cancellation.reason);
      };
    });
  }
}

async function requestDeclaredModel(
  channel: InferenceChannel,
  name: string,
  version: string,
  call: CallOptions,
): Promise<DeclaredModel> {
  try {
    const { platform, inputs } = await channel.call(INFERENCE_SERVICE.modelMetadata, { name, version }, call);
    return { platform, inputs: new Map(inputs.map((input) => [input.name, toTensorSpec(input)])) };
  } catch (error) {
    if (!(error instanceof AnyserveError) || !NO_METADATA_CODES.has(error.code)) throw error;
    return UNDECLARED_MODEL;
  }
}

function toTensorSpec({ name, datatype, shape }: TensorMetadata): TensorSpec | undefined {
  return isDatatype(datatype) ? { name, datatype, shape: shape.map(Number) } : undefined;
}

/** Permanent error codes of a server that has no metadata. */
const NO_METADATA_CODES: ReadonlySet<ErrorCode> = new Set(['unimplemented', 'not_found']);
