import {
  type ChannelInterface,
  type InterceptingListener,
  type Metadata,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ClientGrpcMethod } from '../inference/service-definition.js';
import { createServiceError } from './unary-call.js';

/** Maximum size of the received messages that wait for the reader, in bytes. Beyond it, the server has to wait. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Bytes counted for each message in addition to its size, because an empty message takes memory too. */
const MESSAGE_OVERHEAD_BYTES = 512;

/**
 * A server-streaming call on a channel of the gRPC library. The library's own streams buffer up to 16 decoded messages of
 * any size for a slow reader. This class limits the bytes that it buffers, and decodes a message when it is read.
 */
export class StreamCall<Response> implements InterceptingListener {
  readonly #call: ReturnType<ChannelInterface['createCall']>;
  readonly #deserialize: (bytes: Buffer) => Response;
  readonly #maxTotalBytes: number;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #totalBytes = 0;
  /** Whether reading is paused, so that the server has to wait. */
  #isPaused = false;
  #ended: StatusObject | undefined;
  #wake = (): void => {};

  /**
   * Creates a call. The deadline is in ms since 1970. {@link next} rejects with `too_large` if the messages exceed
   * `maxTotalBytes` together.
   */
  constructor(
    channel: ChannelInterface,
    { path, responseDeserialize }: Pick<ClientGrpcMethod<never, Response>, 'path' | 'responseDeserialize'>,
    deadline: number,
    maxTotalBytes = Number.POSITIVE_INFINITY,
  ) {
    this.#call = channel.createCall(path, deadline, undefined, null, undefined);
    this.#deserialize = responseDeserialize;
    this.#maxTotalBytes = maxTotalBytes;
  }

  /** Sends the request. */
  start(metadata: Metadata, request: Buffer): void {
    this.#call.start(metadata, this);
    this.#call.startRead();
    this.#call.sendMessageWithContext({}, request);
    this.#call.halfClose();
  }

  /** Returns the next message, or undefined after the last one. Rejects with the library's error if the call fails. */
  async next(): Promise<Response | undefined> {
    while (this.#waiting.length === 0) {
      if (this.#ended?.code === status.OK) return undefined;
      if (this.#ended) throw createServiceError(this.#ended);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#decode(this.#waiting.shift() as Buffer);
  }

  /** The trailing metadata; undefined before the end of the call. */
  get trailers(): Metadata | undefined {
    return this.#ended?.metadata;
  }

  /** Whether {@link next} can settle without waiting. */
  get isReady(): boolean {
    return this.#waiting.length > 0 || this.#ended !== undefined;
  }

  cancel(): void {
    this.#call.cancelWithStatus(status.CANCELLED, 'Cancelled on client');
  }

  onReceiveMetadata(): void {}

  onReceiveMessage(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length + MESSAGE_OVERHEAD_BYTES;
    this.#isPaused = this.#waitingBytes > MAX_WAITING_BYTES;
    if (!this.#isPaused) this.#call.startRead();
    this.#wake();
  }

  onReceiveStatus(ended: StatusObject): void {
    this.#ended ??= ended;
    this.#wake();
  }

  #decode(bytes: Buffer): Response {
    const size = bytes.length + MESSAGE_OVERHEAD_BYTES;
    this.#waitingBytes -= size;
    this.#totalBytes += size;
    if (this.#totalBytes > this.#maxTotalBytes) {
      const advice = 'see --max-message-bytes, or stream the response';
      throw new AnyserveError('too_large', `the response has more than ${this.#maxTotalBytes} bytes; ${advice}`);
    }
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#call.startRead();
    }
    try {
      return this.#deserialize(bytes);
    } catch (error) {
      throw new AnyserveError('internal', `cannot decode a message of the stream: ${getErrorMessage(error)}`, {
        cause: error,
      });
    }
  }
}
