import { decodeRequest, decodeResponse, decodeStreamResponse } from './decoder.js';
import { encodeRequest, encodeResponse, encodeStreamResponse } from './encoder.js';
import { GRPCInferenceServiceDefinition } from './gen/open_inference.js';
import { checkMetadataSize } from './message-limits.js';

/** The code that the protobuf compiler made for a message. */
interface Generated<T> {
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

/** A method as a gRPC library wants it told: its path, and how its messages become bytes and come back. */
export interface GrpcMethod<Request, Response> {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (message: Request) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly responseSerialize: (message: Response) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** What a caller needs to know of a method. */
export type ClientGrpcMethod<Request, Response> = Pick<
  GrpcMethod<Request, Response>,
  'path' | 'requestSerialize' | 'responseDeserialize'
>;

const { fullName, methods } = GRPCInferenceServiceDefinition;

/** The name under which the service is served, and asked for in a health check. */
export const INFERENCE_SERVICE_NAME = fullName;

/** A caller that wants a failed stream to end with a gRPC status sends this as `true`, as Triton's clients do. */
export const STATUS_ON_STREAM_ERROR_KEY = 'triton_grpc_error';

const REQUEST = { serialize: encodeRequest, deserialize: decodeRequest };
const ANSWER = { serialize: encodeResponse, deserialize: decodeResponse };
const PART = { serialize: encodeStreamResponse, deserialize: decodeStreamResponse };

/** The Open Inference Protocol's service, without a gRPC library. Where tensors travel the codec is ours. */
export const INFERENCE_SERVICE = {
  serverLive: generatedMethod(methods.serverLive),
  serverReady: generatedMethod(methods.serverReady),
  modelReady: generatedMethod(methods.modelReady),
  serverMetadata: generatedMethod(methods.serverMetadata),
  modelMetadata: generatedMethod(methods.modelMetadata),
  modelInfer: method(methods.modelInfer, REQUEST, ANSWER),
  modelStreamInfer: method(methods.modelStreamInfer, REQUEST, PART),
} as const;

function method<Request, Response>(
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

function generatedMethod<Request, Response>(
  row: MethodRow & { readonly requestType: Generated<Request>; readonly responseType: Generated<Response> },
): GrpcMethod<Request, Response> {
  const response = generatedCodec(row.responseType);
  return method(row, generatedCodec(row.requestType), {
    serialize: response.serialize,
    deserialize(bytes) {
      checkMetadataSize(bytes);
      return response.deserialize(bytes);
    },
  });
}

function generatedCodec<T>(message: Generated<T>): Codec<T> {
  return {
    serialize(value) {
      const { buffer, byteOffset, byteLength } = message.encode(value).finish();
      return Buffer.from(buffer, byteOffset, byteLength);
    },
    deserialize: (bytes) => message.decode(bytes),
  };
}
