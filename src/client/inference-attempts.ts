import type { InferenceResponse } from '../inference/inference-data.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { explainFailure, needsExplanation } from './call-failure.js';
import { collectStream, isDecoupledModelError } from './collect-stream.js';
import { type DeclaredModel, type DeclaredModelCache, UNDECLARED_MODEL } from './declared-model-cache.js';
import { parseInferResponse } from './infer-messages.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { streamOrCallUnary } from './stream-or-unary.js';
import type { StreamTimeouts } from './stream-watchdog.js';

/** A request to a model, which depends on what the model of a replica declares. */
export interface ModelRequest {
  readonly model: string;
  readonly version: string;
  /** Whether {@link create} uses the declaration. If not, it isn't fetched. */
  readonly needsDeclaration: boolean;
  /** Creates the message for a replica whose model declares this. */
  create(declared: DeclaredModel): RequestMessage;
}

/** Options of a streaming attempt. */
export interface StreamAttemptOptions {
  /** Maximum size of all messages together, in bytes. Default: no limit. */
  readonly maxTotalBytes?: number | undefined;
  /** Deadline of the unary call to a server without streams, in ms since 1970. Undefined: such a server is an error. */
  readonly unaryDeadlineEpochMs?: number | undefined;
}

/** Makes single attempts of inference calls on a channel: fetches what the model declares, sends the request, parses the response. */
export class InferenceAttempts {
  readonly #declaredModels: DeclaredModelCache;
  readonly #timeouts: StreamTimeouts;
  readonly #maxMessageBytes: number;

  constructor(declaredModels: DeclaredModelCache, timeouts: StreamTimeouts, maxMessageBytes: number) {
    this.#declaredModels = declaredModels;
    this.#timeouts = timeouts;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Makes a unary call. The messages of a model that can only stream are joined. */
  async infer(channel: InferenceChannel, call: CallOptions, request: ModelRequest): Promise<InferenceResponse> {
    const connecting = channel.connect(call);
    if (connecting !== undefined) await connecting;
    const declared = this.#getDeclared(channel, call, request);
    const message = request.create(declared instanceof Promise ? await declared : declared);
    try {
      return parseInferResponse(channel, await channel.call(INFERENCE_SERVICE.modelInfer, message, call));
    } catch (error) {
      if (!isDecoupledModelError(error)) throw await this.#explain(error, channel, message, call);
      const stream = { ...call, timeouts: this.#timeouts, maxTotalBytes: this.#maxMessageBytes };
      return collectStream(channel, message, stream, (response) => parseInferResponse(channel, response));
    }
  }

  /** Makes a streaming call, and yields each message as it arrives. */
  async *stream(
    channel: InferenceChannel,
    call: CallOptions,
    request: ModelRequest,
    { maxTotalBytes, unaryDeadlineEpochMs }: StreamAttemptOptions,
  ): AsyncGenerator<InferenceResponse> {
    await channel.connect(call);
    const message = request.create(await this.#getDeclared(channel, call, request));
    const stream = { ...call, timeouts: this.#timeouts, maxTotalBytes };
    try {
      const messages =
        unaryDeadlineEpochMs === undefined
          ? channel.stream(message, stream)
          : streamOrCallUnary(channel, message, stream, unaryDeadlineEpochMs);
      for await (const response of messages) yield parseInferResponse(channel, response);
    } catch (error) {
      throw await this.#explain(error, channel, message, call);
    }
  }

  /**
   * Adds the declared and the sent inputs to the message of an error for which the replica gave no reason. Returns other
   * errors unchanged.
   */
  async #explain(
    error: unknown,
    channel: InferenceChannel,
    message: RequestMessage,
    call: CallOptions,
  ): Promise<unknown> {
    if (!needsExplanation(error)) return error;
    const declared = this.#declaredModels.get(channel, message.modelName, message.modelVersion, call);
    const { inputs } = await Promise.resolve(declared).catch(() => UNDECLARED_MODEL);
    return explainFailure(error, inputs, message);
  }

  #getDeclared(
    channel: InferenceChannel,
    call: CallOptions,
    { needsDeclaration, model, version }: ModelRequest,
  ): DeclaredModel | Promise<DeclaredModel> {
    return needsDeclaration ? this.#declaredModels.get(channel, model, version, call) : UNDECLARED_MODEL;
  }
}
