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

/** Told once how a call ended: by its error, or with the answer. */
export type UnaryCallback<Response> = (error: ServiceError | undefined, response: Response | undefined) => void;

/**
 * A call with one message each way, on the library's channel, by the rules of its `Client.makeUnaryRequest`, which is the
 * oracle of the tests. That has interceptors, events and the caller's stack ready for each call, which cost as much as all
 * of our own code around one.
 */
export class UnaryCall<Response> implements InterceptingListener {
  readonly #call: ReturnType<ChannelInterface['createCall']>;
  readonly #deserialize: (bytes: Buffer) => Response;
  readonly #done: UnaryCallback<Response>;
  #response: Response | undefined;
  #failure: Omit<StatusObject, 'metadata'> | undefined;
  #isDone = false;

  /** Makes a call whose deadline is in milliseconds since 1970. */
  constructor(
    channel: ChannelInterface,
    { path, responseDeserialize }: Pick<ClientGrpcMethod<never, Response>, 'path' | 'responseDeserialize'>,
    deadline: number,
    done: UnaryCallback<Response>,
  ) {
    this.#call = channel.createCall(path, deadline, undefined, null, undefined);
    this.#deserialize = responseDeserialize;
    this.#done = done;
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
    const { code, details } = this.#failure ?? ended;
    if (code !== status.OK) this.#done(createServiceError({ code, details, metadata: ended.metadata }), undefined);
    else if (this.#response !== undefined) this.#done(undefined, this.#response);
    else
      this.#done(
        createServiceError({ ...ended, code: status.UNIMPLEMENTED, details: 'No message received' }),
        undefined,
      );
  }

  #fail(code: status, details: string): void {
    this.#failure = { code, details };
    this.#call.cancelWithStatus(code, details);
  }
}

/** The error that the library would make of a status. */
export function createServiceError(ended: StatusObject): ServiceError {
  return Object.assign(new Error(`${ended.code} ${status[ended.code]}: ${ended.details}`), ended);
}
