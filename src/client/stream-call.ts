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

/** Maximum size of the messages that wait to be taken; a slow reader makes the server wait. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Counted for each message beside its bytes, because an empty one takes memory, too. */
const MESSAGE_OVERHEAD_BYTES = 512;

/**
 * A call with one request and a stream of responses, on the library's channel. The library's own streams keep up to 16
 * decoded messages of any size for a slow reader; this keeps few bytes, and decodes a message when it is taken.
 */
export class StreamCall<Response> implements InterceptingListener {
  readonly #call: ReturnType<ChannelInterface['createCall']>;
  readonly #deserialize: (bytes: Buffer) => Response;
  readonly #maxTotalBytes: number;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #totalBytes = 0;
  /** Whether the server waits for us: no message was asked for. */
  #isPaused = false;
  #ended: StatusObject | undefined;
  #wake = (): void => {};

  /** Makes a call whose deadline is in milliseconds since 1970. More than `maxTotalBytes` in all is `too_large`. */
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

  /** Sends the request, the only one. */
  start(metadata: Metadata, request: Buffer): void {
    this.#call.start(metadata, this);
    this.#call.startRead();
    this.#call.sendMessageWithContext({}, request);
    this.#call.halfClose();
  }

  /** The next message; undefined after the last. Rejects with the library's error when the call fails. */
  async next(): Promise<Response | undefined> {
    while (this.#waiting.length === 0) {
      if (this.#ended?.code === status.OK) return undefined;
      if (this.#ended) throw createServiceError(this.#ended);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#decoded(this.#waiting.shift() as Buffer);
  }

  /** Whether {@link next} has a message or the end at hand. */
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

  #decoded(bytes: Buffer): Response {
    const size = bytes.length + MESSAGE_OVERHEAD_BYTES;
    this.#waitingBytes -= size;
    this.#totalBytes += size;
    if (this.#totalBytes > this.#maxTotalBytes) {
      const advice = 'see --max-message-bytes, or take it in parts';
      throw new AnyserveError(
        'too_large',
        `the parts of the answer have more than ${this.#maxTotalBytes} bytes; ${advice}`,
      );
    }
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#call.startRead();
    }
    try {
      return this.#deserialize(bytes);
    } catch (error) {
      throw new AnyserveError('internal', `a part of the answer cannot be read: ${getErrorMessage(error)}`, {
        cause: error,
      });
    }
  }
}
