import type { ServerDuplexStream, ServerUnaryCall, ServiceError, sendUnaryData } from '@grpc/grpc-js';
import { waitForDrain } from '../client/async-waits.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { quote } from '../core/quoting.js';
import { NO_PARAMETERS, type RequestMessage, type StreamResponseMessage } from '../inference/protocol-messages.js';
import { type InferenceRequest, toInferenceRequest, toResponseMessage } from '../inference/request-response.js';
import { INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR_KEY } from '../inference/service-definition.js';
import type { Admission } from './admission.js';
import { runInference, runUnaryInference } from './inference-run.js';
import type { ModelTable } from './model-table.js';
import type { ReceivedMessage } from './received-message.js';
import { estimateTensorMemory } from './request-memory.js';
import { toServiceError } from './service-error.js';
import { rejectSharedMemory } from './tensor-parameters.js';

/** What inference calls need. */
export interface InferenceCallsOptions {
  readonly models: ModelTable;
  readonly admission: Admission;
  readonly log: Log;
  /** Aborted when the worker stops: streams end after the request that is being answered. */
  readonly leaving: AbortSignal;
  /** Called for each inference that failed. */
  onFailure(error: unknown): void;
}

type StreamCall = ServerDuplexStream<ReceivedMessage, StreamResponseMessage>;

/** The two methods that run a model: ModelInfer, and ModelStreamInfer, whose stream carries any number of requests. */
export class InferenceCalls {
  readonly #models: ModelTable;
  readonly #admission: Admission;
  readonly #leaving: AbortSignal;
  readonly #options: InferenceCallsOptions;

  constructor(options: InferenceCallsOptions) {
    this.#models = options.models;
    this.#admission = options.admission;
    this.#leaving = options.leaving;
    this.#options = options;
  }

  /** Answers a ModelInfer call. */
  async answerUnary(call: ServerUnaryCall<ReceivedMessage, Buffer>, answer: sendUnaryData<Buffer>): Promise<void> {
    const gone = new AbortController();
    const received = call.request;
    let isAnswered = false;
    // Emitted at the end of every call: when its answer was sent, or when its caller has gone.
    call.on('cancelled', () => {
      if (isAnswered) received.reservation.release();
      else gone.abort();
    });
    let message: RequestMessage | undefined;
    try {
      message = messageFromBytes(received.take());
      const request = heldRequest(message, received);
      const model = this.#models.get(request.model, request.version);
      const leave = await this.#admission.enter(gone.signal);
      let bytes: Buffer;
      try {
        const whole = await runUnaryInference(model, request, gone.signal);
        bytes = INFERENCE_SERVICE.modelInfer.responseSerialize(toResponseMessage(whole, request.raw));
      } finally {
        leave();
      }
      if (gone.signal.aborted) return;
      received.reservation.resize(bytes.length);
      isAnswered = true;
      answer(null, bytes);
    } catch (error) {
      if (gone.signal.aborted) return;
      this.#reportFailure(call, message, error);
      answer(toServiceError(error));
    } finally {
      if (!isAnswered) received.reservation.release();
    }
  }

  /** Answers a ModelStreamInfer call: its requests one after the other. */
  async answerStream(call: StreamCall): Promise<void> {
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    let isBusy = false;
    // A stream between two requests would keep a stopping worker for as long as its client likes.
    const onLeaving = (): void => {
      if (!isBusy) call.end();
    };
    this.#leaving.addEventListener('abort', onLeaving, { once: true });
    let failed: ServiceError | undefined;
    try {
      for await (const received of call.iterator({ destroyOnReturn: false }) as AsyncIterable<ReceivedMessage>) {
        isBusy = true;
        failed = await this.#answerRequest(call, received, gone.signal);
        if (gone.signal.aborted) return;
        isBusy = false;
        if (failed || this.#leaving.aborted) break;
      }
      // Outside of the loop: inside, the error would end the reading, and with it what is still to be written.
      if (failed) call.emit('error', failed);
      else call.end();
    } catch (error) {
      // The stream itself broke, so only our log can be told.
      if (!gone.signal.aborted)
        this.#options.log.warn(`a stream from ${call.getPeer()} broke: ${getErrorMessage(error)}`);
    } finally {
      this.#leaving.removeEventListener('abort', onLeaving);
    }
  }

  /** Answers one request of a stream. Returns the failure that ends the stream, for a caller that wants it as a status. */
  async #answerRequest(
    call: StreamCall,
    received: ReceivedMessage,
    signal: AbortSignal,
  ): Promise<ServiceError | undefined> {
    let message: RequestMessage | undefined;
    try {
      message = messageFromBytes(received.take());
      await this.#answerInParts(call, heldRequest(message, received), signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#reportFailure(call, message, error);
      if (call.metadata.get(STATUS_ON_STREAM_ERROR_KEY)[0] === 'true') return toServiceError(error);
      // Waits for a slow reader, so that a caller can't send faster than it takes answers.
      if (!call.write(failedResponse(message, getErrorMessage(error)))) await waitForDrain(call, signal);
    } finally {
      received.reservation.release();
    }
    return undefined;
  }

  async #answerInParts(call: StreamCall, request: InferenceRequest, signal: AbortSignal): Promise<void> {
    const model = this.#models.get(request.model, request.version);
    const leave = await this.#admission.enter(signal);
    try {
      for await (const part of runInference(model, request, signal, true)) {
        const hasRoom = call.write({ errorMessage: '', inferResponse: toResponseMessage(part, request.raw) });
        signal.throwIfAborted();
        if (!hasRoom) await waitForDrain(call, signal);
      }
    } finally {
      leave();
    }
  }

  #reportFailure(call: { getPeer(): string }, message: RequestMessage | undefined, error: unknown): void {
    const named = message ? quote(message.modelName) : 'of an unreadable request';
    this.#options.log.warn(`inference ${named} for ${call.getPeer()}: ${getErrorMessage(error)}`);
    this.#options.onFailure(error);
  }
}

/** Reads a request. Throws `invalid_argument`, which the gRPC library would call internal. */
function messageFromBytes(bytes: Buffer): RequestMessage {
  try {
    return INFERENCE_SERVICE.modelInfer.requestDeserialize(bytes);
  } catch (cause) {
    if (cause instanceof AnyserveError) throw cause;
    throw new AnyserveError('invalid_argument', `the request is no ModelInferRequest: ${getErrorMessage(cause)}`, {
      cause,
    });
  }
}

/** Returns the request of a message, and reserves the memory of its tensors beyond its bytes. Throws `resource_exhausted`. */
function heldRequest(message: RequestMessage, { reservation }: ReceivedMessage): InferenceRequest {
  rejectSharedMemory(message);
  const request = toInferenceRequest(message);
  const bytes = estimateTensorMemory(request.inputs);
  if (bytes > reservation.bytes) reservation.resize(bytes);
  return request;
}

/** Returns the response to a request of a stream that failed, with the id of the request. */
function failedResponse(message: RequestMessage | undefined, problem: string): StreamResponseMessage {
  const { id = '', modelName = '', modelVersion = '' } = message ?? {};
  const empty = { outputs: [], rawOutputContents: [], parameters: NO_PARAMETERS };
  return { errorMessage: problem.toWellFormed(), inferResponse: { id, modelName, modelVersion, ...empty } };
}
