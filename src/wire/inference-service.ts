import { GRPCInferenceServiceDefinition } from './gen/open_inference.js';

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

interface MethodRow<Request, Response> {
  readonly name: string;
  readonly requestType: Codec<Request>;
  readonly requestStream: boolean;
  readonly responseType: Codec<Response>;
  readonly responseStream: boolean;
}

/** A method as a gRPC library wants it told: its path, and how its messages become bytes and come back. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (message: Request) => Buffer;
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly responseSerialize: (message: Response) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** What a caller needs to know of a method. */
export type CallableMethod<Request, Response> = Pick<
  Method<Request, Response>,
  'path' | 'requestSerialize' | 'responseDeserialize'
>;

const { fullName, methods } = GRPCInferenceServiceDefinition;

/** The name under which the service is served, and asked for in a health check. */
export const INFERENCE_SERVICE_NAME = fullName;

/** A caller that wants a failed stream to end with a gRPC status sends this as `true`, as Triton's clients do. */
export const STATUS_ON_STREAM_ERROR = 'triton_grpc_error';

/** The Open Inference Protocol's service, without a gRPC library. */
export const INFERENCE_SERVICE = {
  serverLive: method(methods.serverLive),
  serverReady: method(methods.serverReady),
  modelReady: method(methods.modelReady),
  serverMetadata: method(methods.serverMetadata),
  modelMetadata: method(methods.modelMetadata),
  modelInfer: method(methods.modelInfer),
  modelStreamInfer: method(methods.modelStreamInfer),
} as const;

function method<Request, Response>(row: MethodRow<Request, Response>): Method<Request, Response> {
  return {
    path: `/${fullName}/${row.name}`,
    requestStream: row.requestStream,
    responseStream: row.responseStream,
    requestSerialize: (message) => bytes(row.requestType.encode(message).finish()),
    requestDeserialize: (buffer) => row.requestType.decode(buffer),
    responseSerialize: (message) => bytes(row.responseType.encode(message).finish()),
    responseDeserialize: (buffer) => row.responseType.decode(buffer),
  };
}

/** The same bytes as a Buffer, which is what a gRPC library for Node takes. */
function bytes(array: Uint8Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}
