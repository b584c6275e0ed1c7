import {
  type ChannelInterface,
  type InterceptingListener,
  type Metadata,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { getErrorMessage } from '../core/errors.js';
import type { ClientGrpcMethod } from '../inference/service-definition.js';

/** Called once when a call ends, with its error or its response, and with its trailing metadata. */
export type UnaryCallback<Response> = (
  error: ServiceError | undefined,
  response: Response | undefined,
  trailers: Metadata,
) => void;

/**
 * A unary call on a channel of the gRPC library. It behaves like the library's `Client.makeUnaryRequest`, which is the
 * oracle of the tests. That method prepares interceptors, events and the caller's stack for each call, which costs as much
 * as all of our own code for a call.
 */
export class UnaryCall<Response> implements InterceptingListener {
  readonly #call: ReturnType<ChannelInterface['createCall']>;
  readonly #deserialize: (bytes: Buffer) => Response;
  readonly #callback: UnaryCallback<Response>;
  #response: Response | undefined;
  #failure: Omit<StatusObject, 'metadata'> | undefined;
  #isDone = false;

  /** Creates a call. The deadline is in ms since 1970. */
  constructor(
    channel: ChannelInterface,
    { path, responseDeserialize }: Pick<ClientGrpcMethod<never, Response>, 'path' | 'responseDeserialize'>,
    deadline: number,
    callback: UnaryCallback<Response>,
  ) {
    this.#call = channel.createCall(path, deadline, undefined, null, undefined);
    this.#deserialize = responseDeserialize;
    this.#callback = callback;
  }

  /** Sends the request. */
  start(metadata: Metadata, request: Buffer): void {
    this.#call.start(metadata, this);
    this.#call.startRead();
    this.#call.sendMessageWithContext({}, request);
    this.#call.halfClose();
  }

  cancel(): void {
    this.#call.cancelWithStatus(status.CANCELLED, 'Cancelled on client');
  }

  onReceiveMetadata(): void {}

  onReceiveMessage(bytes: Buffer): void {
    try {
      if (this.#response !== undefined) this.#fail(status.UNIMPLEMENTED, 'Too many responses received');
      else this.#response = this.#deserialize(bytes);
    } catch (error) {
      this.#fail(status.INTERNAL, `Response message parsing error: ${getErrorMessage(error)}`);
    }
  }

  onReceiveStatus(ended: StatusObject): void {
    if (this.#isDone) return;
    this.#isDone = true;
    const { metadata } = ended;
    const { code, details } = this.#failure ?? ended;
    if (code !== status.OK) this.#callback(createServiceError({ code, details, metadata }), undefined, metadata);
    else if (this.#response !== undefined) this.#callback(undefined, this.#response, metadata);
    else {
      const missing = { code: status.UNIMPLEMENTED, details: 'No message received', metadata };
      this.#callback(createServiceError(missing), undefined, metadata);
    }
  }

  #fail(code: status, details: string): void {
    this.#failure = { code, details };
    this.#call.cancelWithStatus(code, details);
  }
}

/** Creates the error that the library creates for a status. */
export function createServiceError(ended: StatusObject): ServiceError {
  return Object.assign(new Error(`${ended.code} ${status[ended.code]}: ${ended.details}`), ended);
}
