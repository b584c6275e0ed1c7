import type { ServerDuplexStream, ServerUnaryCall, ServiceError, sendUnaryData } from '@grpc/grpc-js';
import { waitForDrain } from '../client/async-waits.js';
import { getPairValue } from '../core/capability.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { ServerTracer } from '../core/ports.js';
import { quote } from '../core/quoting.js';
import { NO_PARAMETERS, type RequestMessage, type StreamResponseMessage } from '../inference/protocol-messages.js';
import { type InferenceRequest, toInferenceRequest, toResponseMessage } from '../inference/request-response.js';
import { INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR_KEY } from '../inference/service-definition.js';
import type { LineLimits } from '../telemetry/line-limits.js';
import type { MeasuredRequest, WorkerMetrics } from '../telemetry/worker-metrics.js';
import { type Admission, QueueFullError } from './admission.js';
import type { Model } from './backend.js';
import { runInference, runUnaryInference } from './inference-run.js';
import { LoadTrailers } from './load-trailers.js';
import type { ModelTable } from './model-table.js';
import type { ReceivedMessage } from './received-message.js';
import { toServiceError } from './service-error.js';
import { estimateTensorMemory } from './tensor-memory.js';
import { rejectSharedMemory } from './tensor-parameters.js';

/** Dependencies of the inference calls. */
export interface InferenceCallsOptions {
  readonly models: ModelTable;
  readonly admission: Admission;
  /** Load to report with each response. It always has the current numbers. */
  readonly load: ReplicaLoad;
  /** Traces the calls. Default: none. */
  readonly tracer?: ServerTracer | undefined;
  /** Counts the calls of each model. Default: none. */
  readonly metrics?: WorkerMetrics | undefined;
  /** Limits the lines about failed calls, which any caller can cause. */
  readonly lines: LineLimits;
  /** Aborted when the worker stops. Streams then end after their current request. */
  readonly leaving: AbortSignal;
  /** Called for each failed inference. */
  onFailure(error: unknown): void;
}

type StreamCall = ServerDuplexStream<ReceivedMessage, StreamResponseMessage>;

/** Handles the two methods that run a model: ModelInfer and ModelStreamInfer, which takes any number of requests. */
export class InferenceCalls {
  readonly #models: ModelTable;
  readonly #admission: Admission;
  readonly #leaving: AbortSignal;
  readonly #options: InferenceCallsOptions;
  readonly #trailers: LoadTrailers;

  constructor(options: InferenceCallsOptions) {
    this.#models = options.models;
    this.#admission = options.admission;
    this.#leaving = options.leaving;
    this.#options = options;
    this.#trailers = new LoadTrailers(options.load);
  }

  /** Handles a ModelInfer call. */
  async handleUnary(call: ServerUnaryCall<ReceivedMessage, Buffer>, respond: sendUnaryData<Buffer>): Promise<void> {
    const disconnected = new AbortController();
    const received = call.request;
    let hasResponded = false;
    // Emitted at the end of every call: after the response was sent, or when the caller disconnects.
    call.on('cancelled', () => {
      if (hasResponded) received.reservation.release();
      else disconnected.abort();
    });
    let message: RequestMessage | undefined;
    try {
      message = parseMessage(received.take());
      const request = createRequest(message, received);
      const model = this.#models.get(request.model, request.version);
      this.#options.tracer?.annotate({ 'gen_ai.request.model': model.name });
      const bytes = await this.#runInTurn(model, disconnected.signal, false, async () => {
        const response = await runUnaryInference(model, request, disconnected.signal);
        return INFERENCE_SERVICE.modelInfer.responseSerialize(toResponseMessage(response, request.raw));
      });
      if (disconnected.signal.aborted) return;
      received.reservation.resize(bytes.length);
      hasResponded = true;
      respond(null, bytes, this.#trailers);
    } catch (error) {
      if (disconnected.signal.aborted) return;
      this.#reportFailure(call, message, error);
      respond(this.#toServiceError(error));
    } finally {
      if (!hasResponded) received.reservation.release();
    }
  }

  /** Handles a ModelStreamInfer call, one request after the other. */
  async handleStream(call: StreamCall): Promise<void> {
    const disconnected = new AbortController();
    call.on('cancelled', () => disconnected.abort());
    let isBusy = false;
    // Without this, a client that leaves an idle stream open would keep a stopping worker alive.
    const onLeaving = (): void => {
      if (!isBusy) call.end(this.#trailers);
    };
    this.#leaving.addEventListener('abort', onLeaving, { once: true });
    let streamError: ServiceError | undefined;
    try {
      for await (const received of call.iterator({ destroyOnReturn: false }) as AsyncIterable<ReceivedMessage>) {
        isBusy = true;
        streamError = await this.#handleStreamRequest(call, received, disconnected.signal);
        if (disconnected.signal.aborted) return;
        isBusy = false;
        if (streamError || this.#leaving.aborted) break;
      }
      // Emitted after the loop: inside it, the error would destroy the iterator and discard pending writes.
      if (streamError) call.emit('error', streamError);
      else call.end(this.#trailers);
    } catch (error) {
      // The stream itself is broken, so the failure can only be logged.
      if (!disconnected.signal.aborted)
        this.#options.lines.getLog('stream').warn(`stream from ${call.getPeer()} failed: ${getErrorMessage(error)}`, {
          event: 'stream_failed',
          peer: call.getPeer(),
          error: getErrorMessage(error),
        });
    } finally {
      this.#leaving.removeEventListener('abort', onLeaving);
    }
  }

  /** Handles one request of a stream. Returns the error that ends the stream, if the caller wants failures as a status. */
  async #handleStreamRequest(
    call: StreamCall,
    received: ReceivedMessage,
    signal: AbortSignal,
  ): Promise<ServiceError | undefined> {
    let message: RequestMessage | undefined;
    try {
      message = parseMessage(received.take());
      await this.#streamResponses(call, createRequest(message, received), signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#reportFailure(call, message, error);
      if (call.metadata.get(STATUS_ON_STREAM_ERROR_KEY)[0] === 'true') return this.#toServiceError(error);
      // Waits for a slow reader, so that a caller can't send requests faster than it reads responses.
      if (!call.write(createErrorResponse(message, getErrorMessage(error)))) await waitForDrain(call, signal);
    } finally {
      received.reservation.release();
    }
    return undefined;
  }

  async #streamResponses(call: StreamCall, request: InferenceRequest, signal: AbortSignal): Promise<void> {
    const model = this.#models.get(request.model, request.version);
    this.#options.tracer?.annotate({ 'gen_ai.request.model': model.name });
    await this.#runInTurn(model, signal, true, async (measured) => {
      for await (const response of runInference(model, request, signal, true)) {
        const hasRoom = call.write({ errorMessage: '', inferResponse: toResponseMessage(response, request.raw) });
        measured?.recordResponse();
        signal.throwIfAborted();
        if (!hasRoom) await waitForDrain(call, signal);
      }
    });
  }

  /** Runs a request when it has its turn, and measures how long it waits and runs. */
  async #runInTurn<T>(
    model: Model,
    signal: AbortSignal,
    isStream: boolean,
    run: (measured: MeasuredRequest | undefined) => Promise<T>,
  ): Promise<T> {
    const measured = this.#options.metrics?.measureRequest(getOperation(model), model.name, isStream);
    let release: (() => void) | undefined;
    try {
      release = await this.#admission.acquire(signal);
      measured?.start();
      const result = await run(measured);
      measured?.end();
      return result;
    } catch (error) {
      measured?.end(signal.aborted ? 'cancelled' : error instanceof AnyserveError ? error.code : 'internal');
      throw error;
    } finally {
      release?.();
    }
  }

  #toServiceError(error: unknown): ServiceError {
    const pushBackMs = error instanceof QueueFullError ? error.pushBackMs : undefined;
    return toServiceError(error, pushBackMs === undefined ? this.#trailers : this.#trailers.withPushBack(pushBackMs));
  }

  #reportFailure(call: { getPeer(): string }, message: RequestMessage | undefined, error: unknown): void {
    const request = message ? `inference with model ${quote(message.modelName)}` : 'unreadable inference request';
    // Invalid requests are limited separately, so that they can't hide failures of a model.
    const kind = error instanceof AnyserveError ? error.code : 'handler';
    this.#options.lines.getLog(kind).warn(`${request} from ${call.getPeer()} failed: ${getErrorMessage(error)}`, {
      event: 'call_failed',
      model: message?.modelName,
      peer: call.getPeer(),
      code: kind,
      error: getErrorMessage(error),
    });
    this.#options.onFailure(error);
  }
}

/** Operations of OpenTelemetry's GenAI conventions, by the type of the model. */
const OPERATIONS: Readonly<Record<string, string>> = { chat: 'chat', embed: 'embeddings' };

/** Returns the operation of a model: its type, by OpenTelemetry's name if it has one. `infer` if the model has no type. */
function getOperation({ capabilities }: Model): string {
  const type = capabilities.map(({ pairs }) => getPairValue('type', pairs)).find((value) => value !== undefined);
  return type === undefined ? 'infer' : (OPERATIONS[type] ?? type);
}

/** Parses a request. Throws `invalid_argument`. If grpc-js parsed it, a malformed request would be `internal`. */
function parseMessage(bytes: Buffer): RequestMessage {
  try {
    return INFERENCE_SERVICE.modelInfer.requestDeserialize(bytes);
  } catch (cause) {
    if (cause instanceof AnyserveError) throw cause;
    throw new AnyserveError('invalid_argument', `invalid ModelInferRequest: ${getErrorMessage(cause)}`, {
      cause,
    });
  }
}

/** Converts a message to a request and reserves the additional memory of its tensors. Throws `resource_exhausted`. */
function createRequest(message: RequestMessage, { reservation }: ReceivedMessage): InferenceRequest {
  rejectSharedMemory(message);
  const request = toInferenceRequest(message);
  const bytes = estimateTensorMemory(request.inputs);
  if (bytes > reservation.bytes) reservation.resize(bytes);
  return request;
}

/** Creates the response to a failed request of a stream, with the request's id. */
function createErrorResponse(message: RequestMessage | undefined, problem: string): StreamResponseMessage {
  const { id = '', modelName = '', modelVersion = '' } = message ?? {};
  const empty = { outputs: [], rawOutputContents: [], parameters: NO_PARAMETERS };
  return { errorMessage: problem.toWellFormed(), inferResponse: { id, modelName, modelVersion, ...empty } };
}
