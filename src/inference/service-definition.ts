import { decodeRequest, decodeResponse, decodeStreamResponse } from './decoder.js';
import { encodeRequest, encodeResponse, encodeStreamResponse } from './encoder.js';
import { GRPCInferenceServiceDefinition } from './gen/open_inference.js';
import { checkMetadataSize } from './message-limits.js';

/** The code that the protobuf compiler generated for a message. */
interface GeneratedMessage<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

interface MethodRow {
  readonly name: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

interface Codec<T> {
  readonly serialize: (message: T) => Buffer;
  readonly deserialize: (bytes: Buffer) => T;
}

/** A gRPC method: its path, and the serializers of its messages. Compatible with grpc-js. */
export interface GrpcMethod<Request, Response> {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (message: Request) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly responseSerialize: (message: Response) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** The properties of a method that a client needs. */
export type ClientGrpcMethod<Request, Response> = Pick<
  GrpcMethod<Request, Response>,
  'path' | 'requestSerialize' | 'responseDeserialize'
>;

const { fullName, methods } = GRPCInferenceServiceDefinition;

/** The full name of the service, also used in health checks. */
export const INFERENCE_SERVICE_NAME = fullName;

/** Metadata key. If a client sends `true`, a failed stream ends with a gRPC status. Triton's clients use it. */
export const STATUS_ON_STREAM_ERROR_KEY = 'triton_grpc_error';

const REQUEST_CODEC = { serialize: encodeRequest, deserialize: decodeRequest };
const RESPONSE_CODEC = { serialize: encodeResponse, deserialize: decodeResponse };
const STREAM_RESPONSE_CODEC = { serialize: encodeStreamResponse, deserialize: decodeStreamResponse };

/** The service of the Open Inference Protocol, without a gRPC library. Messages with tensors use our codec. */
export const INFERENCE_SERVICE = {
  serverLive: createGeneratedMethod(methods.serverLive),
  serverReady: createGeneratedMethod(methods.serverReady),
  modelReady: createGeneratedMethod(methods.modelReady),
  serverMetadata: createGeneratedMethod(methods.serverMetadata),
  modelMetadata: createGeneratedMethod(methods.modelMetadata),
  modelInfer: createMethod(methods.modelInfer, REQUEST_CODEC, RESPONSE_CODEC),
  modelStreamInfer: createMethod(methods.modelStreamInfer, REQUEST_CODEC, STREAM_RESPONSE_CODEC),
} as const;

function createMethod<Request, Response>(
  row: MethodRow,
  request: Codec<Request>,
  response: Codec<Response>,
): GrpcMethod<Request, Response> {
  return {
    path: `/${fullName}/${row.name}`,
    requestStream: row.requestStream,
    responseStream: row.responseStream,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize,
  };
}

function createGeneratedMethod<Request, Response>(
  row: MethodRow & {
    readonly requestType: GeneratedMessage<Request>;
    readonly responseType: GeneratedMessage<Response>;
  },
): GrpcMethod<Request, Response> {
  const response = createGeneratedCodec(row.responseType);
  return createMethod(row, createGeneratedCodec(row.requestType), {
    serialize: response.serialize,
    deserialize(bytes) {
      checkMetadataSize(bytes);
      return response.deserialize(bytes);
    },
  });
}

function createGeneratedCodec<T>(message: GeneratedMessage<T>): Codec<T> {
  return {
    serialize(value) {
      const { buffer, byteOffset, byteLength } = message.encode(value).finish();
      return Buffer.from(buffer, byteOffset, byteLength);
    },
    deserialize: (bytes) => message.decode(bytes),
  };
}

/**
 * HTTP/2 flow control window: number of bytes that a peer can send before it must wait for a window update. With HTTP/2's
 * default of 64 KiB, a message of 1 MiB waits sixteen times.
 */
export const FLOW_CONTROL_WINDOW_BYTES = 2 * 1024 * 1024;

/**
 * Creates the options of the gRPC library for client and server. Both message limits are set, because the library's
 * defaults differ between the two. Channelz stays enabled, although nothing reads it: without it a server doesn't track its
 * connections, and `forceShutdown` closes none of them.
 */
export function createGrpcOptions(maxMessageBytes: number) {
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  };
}
