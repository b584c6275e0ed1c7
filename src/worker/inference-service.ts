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
import { traceStream, traceUnary } from './call-traces.js';
import { InferenceCalls, type InferenceCallsOptions } from './inference-calls.js';
import type { ReceivedMessage } from './received-message.js';
import { toServiceError } from './service-error.js';

/** Dependencies of a worker's gRPC service. */
export interface InferenceServiceOptions extends InferenceCallsOptions {
  /** Version of anyserve, for the server's metadata. */
  readonly version: string;
  /** Returns whether calls are accepted: the backends are healthy and the worker isn't draining. */
  isReady(): boolean;
}

/** Returns a request unchanged. `BudgetedRequestReader` delivers a {@link ReceivedMessage} where grpc-js declares bytes. */
const toReceivedMessage = (received: Buffer): ReceivedMessage => received as unknown as ReceivedMessage;
const keepBytes = (bytes: Buffer): Buffer => bytes;

/**
 * The methods as grpc-js serves them. Inference requests are not parsed by grpc-js: its status for a malformed one would
 * be `internal`, and ours is `invalid_argument`.
 */
export const SERVED_METHODS = {
  ...INFERENCE_SERVICE,
  modelInfer: { ...INFERENCE_SERVICE.modelInfer, requestDeserialize: toReceivedMessage, responseSerialize: keepBytes },
  modelStreamInfer: { ...INFERENCE_SERVICE.modelStreamInfer, requestDeserialize: toReceivedMessage },
};

/** Creates the seven methods of the Open Inference Protocol for a worker's models. */
export function createInferenceService(options: InferenceServiceOptions): UntypedServiceImplementation {
  const { models, version, leaving } = options;
  const calls = new InferenceCalls(options);
  const isReady = (): boolean => options.isReady() && !leaving.aborted;

  const serverLive: handleUnaryCall<ServerLiveRequest, ServerLiveResponse> = (_call, respond) =>
    respond(null, { live: true });

  const serverReady: handleUnaryCall<ServerReadyRequest, ServerReadyResponse> = (_call, respond) =>
    respond(null, { ready: isReady() });

  const modelReady: handleUnaryCall<ModelReadyRequest, ModelReadyResponse> = ({ request }, respond) =>
    respond(null, { ready: isReady() && models.find(request.name, request.version) !== undefined });

  const serverMetadata: handleUnaryCall<ServerMetadataRequest, ServerMetadataResponse> = (_call, respond) =>
    respond(null, { name: 'anyserve', version, extensions: [] });

  const modelMetadata: handleUnaryCall<ModelMetadataRequest, ModelMetadataResponse> = ({ request }, respond) => {
    try {
      const model = models.get(request.name, request.version);
      respond(null, {
        name: model.name,
        versions: [...model.versions],
        platform: model.platform,
        inputs: (model.inputs ?? []).map(toTensorMetadata),
        outputs: (model.outputs ?? []).map(toTensorMetadata),
        properties: new Map(),
      });
    } catch (error) {
      respond(toServiceError(error));
    }
  };

  const handleUnary: handleUnaryCall<ReceivedMessage, Buffer> = (call, respond) => calls.handleUnary(call, respond);
  const handleStream: handleBidiStreamingCall<ReceivedMessage, StreamResponseMessage> = (call) =>
    calls.handleStream(call);
  const { tracer } = options;
  const modelInfer = tracer ? traceUnary(tracer, 'ModelInfer', handleUnary) : handleUnary;
  const modelStreamInfer = tracer ? traceStream(tracer, 'ModelStreamInfer', handleStream) : handleStream;

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

function toTensorMetadata({ name, datatype, shape }: TensorSpec) {
  return { name, datatype, shape: shape.map(BigInt) };
}
