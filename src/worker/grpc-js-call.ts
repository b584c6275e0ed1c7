import type { ServerHttp2Stream } from 'node:http2';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';

/** A status that ends a call. */
export interface CallStatus {
  readonly code: number;
  readonly details: string;
}

/**
 * What we touch of a call inside the gRPC library. The library promises none of it, but has no other way to bound what it
 * reads and inflates before a message is handed on. A version of the library that has moved these is not served with:
 * {@link libraryCall} says so, and each call is refused.
 */
export interface LibraryCall {
  readonly stream: ServerHttp2Stream;
  /** Whether the caller has sent all that it sends. */
  readonly receivedHalfClose: boolean;
  decoder: { write(data: Buffer): Buffer[] };
  /** Called once for each message in order, right after the decoder returned it, with its 5-byte head. */
  decompressMessage(message: Buffer, encoding: string): unknown;
  sendStatus(status: CallStatus): void;
  sendMessage(message: unknown, onSent: () => void): void;
}

/** The inside of the call that the library gives its first interceptor; undefined where it is not as we know it. */
export function libraryCall(call: ServerInterceptingCallInterface): LibraryCall | undefined {
  const inside = call as unknown as Partial<LibraryCall>;
  const isKnown =
    typeof inside.stream?.push === 'function' &&
    typeof inside.decoder?.write === 'function' &&
    typeof inside.decompressMessage === 'function' &&
    typeof inside.receivedHalfClose === 'boolean';
  return isKnown ? (call as unknown as LibraryCall) : undefined;
}
