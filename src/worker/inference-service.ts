import type { handleBidiStreamingCall, handleUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
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
} from '../inference/gen/open_inference.js';
import type { StreamResponseMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import type { TensorSpec } from '../inference/tensor-spec.js';
import { InferenceCalls, type InferenceCallsOptions } from './inference-calls.js';
import type { ReceivedMessage } from './received-message.js';
import { toServiceError } from './service-error.js';

/** What the gRPC service of a worker needs. */
export interface InferenceServiceOptions extends InferenceCallsOptions {
  readonly version: string;
  /** Whether the models can be called, as far as is known. */
  isWell(): boolean;
}

/** Requests are a {@link ReceivedMessage}, made by `callLimits`; the library calls them bytes. */
const asReceived = (received: Buffer): ReceivedMessage => received as unknown as ReceivedMessage;
const asBytes = (bytes: Buffer): Buffer => bytes;

/**
 * The methods as the gRPC library serves them. Inference requests stay bytes, because a malformed one is
 * `invalid_argument`, and the library would answer `internal`.
 */
export const SERVED_METHODS = {
  ...INFERENCE_SERVICE,
  modelInfer: { ...INFERENCE_SERVICE.modelInfer, requestDeserialize: asReceived, responseSerialize: asBytes },
  modelStreamInfer: { ...INFERENCE_SERVICE.modelStreamInfer, requestDeserialize: asReceived },
};

/** The seven methods of the Open Inference Protocol over a worker's models. */
export function createInferenceService(options: InferenceServiceOptions): UntypedServiceImplementation {
  const { models, version, leaving } = options;
  const calls = new InferenceCalls(options);
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
      answer(toServiceError(error));
    }
  };

  const modelInfer: handleUnaryCall<ReceivedMessage, Buffer> = (call, answer) => calls.answerUnary(call, answer);

  const modelStreamInfer: handleBidiStreamingCall<ReceivedMessage, StreamResponseMessage> = (call) =>
    calls.answerStream(call);

  return {
    serverLive,
    serverReady,
    modelReady,
    serverMetadata,
    modelMetadata,
    modelInfer,
    modelStreamInfer,
  };
}

function metadataFromSpec({ name, datatype, shape }: TensorSpec) {
  return { name, datatype, shape: shape.map(BigInt) };
}
