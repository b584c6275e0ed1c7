import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerDuplexStream,
  type ServiceError,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { drained } from '../client/drained.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { quoted } from '../core/quoted.js';
import type {
  ModelMetadataRequest,
  ModelMetadataResponse,
  ModelReadyRequest,
  ModelReadyResponse,
  ServerLiveRequest,
  ServerLiveResponse,
  ServerMetadataRequest,
  ServerMetadataResponse,
  ServerReadyRequest,
  ServerReadyResponse,
} from '../wire/gen/open_inference.js';
import { type InferenceRequest, messageFromAnswer, requestFromMessage } from '../wire/inference.js';
import { NO_PARAMETERS, type PartMessage, type RequestMessage } from '../wire/inference-message.js';
import { INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR } from '../wire/inference-service.js';
import type { TensorSpec } from '../wire/tensor-spec.js';
import type { Admission } from './admission.js';
import { runInference, runWholeInference } from './inference.js';
import type { ModelTable } from './model-table.js';
import type { ReceivedMessage } from './received-message.js';
import { memoryOfTensors } from './request-memory.js';
import { statusDetails } from './status-details.js';
import { refuseSharedMemory } from './tensor-parameters.js';

/** What the gRPC side of a worker needs. */
export interface InferenceServiceOptions {
  readonly models: ModelTable;
  readonly admission: Admission;
  readonly log: Log;
  readonly version: string;
  /** Aborted when the worker leaves: new calls are not welcome any more, and streams end after the answer under way. */
  readonly leaving: AbortSignal;
  /** Whether the models can be called, as far as is known. */
  isWell(): boolean;
  /** Told of each inference that failed. */
  onFailure(error: unknown): void;
}

/** Requests come as they were received, which {@link callLimits} sees to, though the library calls them bytes. */
const asReceived = (received: Buffer): ReceivedMessage => received as unknown as ReceivedMessage;
const asBytes = (bytes: Buffer): Buffer => bytes;

/**
 * The methods as the gRPC library serves them. An inference request comes as bytes: when they are none, it is for us to
 * say so, and not for the library.
 */
export const SERVED_METHODS = {
  ...INFERENCE_SERVICE,
  modelInfer: { ...INFERENCE_SERVICE.modelInfer, requestDeserialize: asReceived, responseSerialize: asBytes },
  modelStreamInfer: { ...INFERENCE_SERVICE.modelStreamInfer, requestDeserialize: asReceived },
};

/** The seven methods of the Open Inference Protocol over a worker's models. */
export function inferenceService(options: InferenceServiceOptions): UntypedServiceImplementation {
  const { models, admission, log, version, leaving } = options;
  const isReady = (): boolean => options.isWell() && !leaving.aborted;

  const serverLive: handleUnaryCall<ServerLiveRequest, ServerLiveResponse> = (_call, answer) =>
    answer(null, { live: true });

  const serverReady: handleUnaryCall<ServerReadyRequest, ServerReadyResponse> = (_call, answer) =>
    answer(null, { ready: isReady() });

  const modelReady: handleUnaryCall<ModelReadyRequest, ModelReadyResponse> = ({ request }, answer) =>
    answer(null, { ready: isReady() && models.find(request.name, request.version) !== undefined });

  const serverMetadata: handleUnaryCall<ServerMetadataRequest, ServerMetadataResponse> = (_call, answer) =>
    answer(null, { name: 'anyserve', version, extensions: [] });

  const modelMetadata: handleUnaryCall<ModelMetadataRequest, ModelMetadataResponse> = ({ request }, answer) => {
    try {
      const model = models.get(request.name, request.version);
      answer(null, {
        name: model.name,
        versions: [...model.versions],
        platform: model.platform,
        inputs: (model.inputs ?? []).map(metadataFromSpec),
        outputs: (model.outputs ?? []).map(metadataFromSpec),
        properties: new Map(),
      });
    } catch (error) {
      answer(failure(error));
    }
  };

  const modelInfer: handleUnaryCall<ReceivedMessage, Buffer> = async (call, answer) => {
    const gone = new AbortController();
    const received = call.request;
    let isAnswered = false;
    // Emitted at the end of every call, when its answer was sent or its caller has gone.
    call.on('cancelled', () => {
      if (isAnswered) received.reservation.release();
      else gone.abort();
    });
    let message: RequestMessage | undefined;
    try {
      message = messageFromBytes(received.take());
      const request = heldRequest(message, received);
      const model = models.get(request.model, request.version);
      const leave = await admission.enter(gone.signal);
      let bytes: Buffer;
      try {
        const whole = await runWholeInference(model, request, gone.signal);
        bytes = INFERENCE_SERVICE.modelInfer.responseSerialize(messageFromAnswer(whole, request.raw));
      } finally {
        leave();
      }
      if (gone.signal.aborted) return;
      received.reservation.resize(bytes.length);
      isAnswered = true;
      answer(null, bytes);
    } catch (error) {
      if (gone.signal.aborted) return;
      tell(call, message, error);
      answer(failure(error));
    } finally {
      if (!isAnswered) received.reservation.release();
    }
  };

  const modelStreamInfer: handleBidiStreamingCall<ReceivedMessage, PartMessage> = async (call) => {
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    const wantsStatus = call.metadata.get(STATUS_ON_STREAM_ERROR)[0] === 'true';
    let failed: ServiceError | undefined;
    let isBusy = false;
    // A stream between two requests would keep a leaving worker for as long as its client likes.
    const onLeaving = (): void => {
      if (!isBusy) call.end();
    };
    leaving.addEventListener('abort', onLeaving, { once: true });
    try {
      for await (const received of call.iterator({ destroyOnReturn: false }) as AsyncIterable<ReceivedMessage>) {
        let message: RequestMessage | undefined;
        isBusy = true;
        try {
          message = messageFromBytes(received.take());
          await answerInParts(call, heldRequest(message, received), gone.signal);
        } catch (error) {
          if (gone.signal.aborted) return;
          tell(call, message, error);
          if (wantsStatus) {
            failed = failure(error);
            break;
          }
          // A caller that does not read sends no more than it is answered.
          if (!call.write(failedResponse(message, messageOf(error)))) await drained(call, gone.signal);
        } finally {
          received.reservation.release();
        }
        isBusy = false;
        if (leaving.aborted) break;
      }
      // Outside of the loop: inside, the error would end the reading, and with it what is still to be written.
      if (failed) call.emit('error', failed);
      else call.end();
    } catch (error) {
      // The stream itself broke; there is nobody left to tell but our own log.
      if (!gone.signal.aborted) log.warn(`a stream from ${call.getPeer()} broke: ${messageOf(error)}`);
    } finally {
      leaving.removeEventListener('abort', onLeaving);
    }
  };

  function tell(call: { getPeer(): string }, message: RequestMessage | undefined, error: unknown): void {
    const named = message ? quoted(message.modelName) : 'of an unreadable request';
    log.warn(`inference ${named} for ${call.getPeer()}: ${messageOf(error)}`);
    options.onFailure(error);
  }

  async function answerInParts(
    call: ServerDuplexStream<ReceivedMessage, PartMessage>,
    request: InferenceRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const model = models.get(request.model, request.version);
    const leave = await admission.enter(signal);
    try {
      for await (const part of runInference(model, request, signal, true)) {
        const hasRoom = call.write({ errorMessage: '', inferResponse: messageFromAnswer(part, request.raw) });
        signal.throwIfAborted();
        if (!hasRoom) await drained(call, signal);
      }
    } finally {
      leave();
    }
  }

  return { serverLive, serverReady, modelReady, serverMetadata, modelMetadata, modelInfer, modelStreamInfer };
}

/** Reads a request. Throws `invalid_argument`, which the gRPC library would call internal. */
function messageFromBytes(bytes: Buffer): RequestMessage {
  try {
    return INFERENCE_SERVICE.modelInfer.requestDeserialize(bytes);
  } catch (cause) {
    if (cause instanceof AnyserveError) throw cause;
    throw new AnyserveError('invalid_argument', `the request is no ModelInferRequest: ${messageOf(cause)}`, { cause });
  }
}

/** The request of a message; what its tensors take beyond the bytes that came is reserved. Throws `resource_exhausted`. */
function heldRequest(message: RequestMessage, { reservation }: ReceivedMessage): InferenceRequest {
  refuseSharedMemory(message);
  const request = requestFromMessage(message);
  const bytes = memoryOfTensors(request.inputs);
  if (bytes > reservation.bytes) reservation.resize(bytes);
  return request;
}

/** What a stream says of a request that failed, with the id that tells it from the others. */
function failedResponse(message: RequestMessage | undefined, problem: string): PartMessage {
  const { id = '', modelName = '', modelVersion = '' } = message ?? {};
  const empty = { outputs: [], rawOutputContents: [], parameters: NO_PARAMETERS };
  return { errorMessage: problem.toWellFormed(), inferResponse: { id, modelName, modelVersion, ...empty } };
}

function metadataFromSpec({ name, datatype, shape }: TensorSpec) {
  return { name, datatype, shape: shape.map(BigInt) };
}

function failure(error: unknown): ServiceError {
  const known = error instanceof AnyserveError ? error : new AnyserveError('internal', messageOf(error));
  const details = statusDetails(known.message);
  return Object.assign(new Error(details), { code: known.grpcStatus, details, metadata: new Metadata() });
}
