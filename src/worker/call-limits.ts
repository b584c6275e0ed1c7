import { constants } from 'node:http2';
import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from '@grpc/grpc-js';
import { getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { isPublicMethod } from './auth-interceptor.js';
import { BudgetedRequestReader } from './budgeted-request-reader.js';
import { type CallStatus, type GrpcJsCall, getGrpcJsCall } from './grpc-js-workarounds.js';
import type { MemoryBudget } from './memory-budget.js';
import { PublicRequestReader } from './public-request-reader.js';
import { type RequestReader, RequestWatchdog } from './request-watchdog.js';

/** What bounds the memory of calls. */
export interface CallLimitsOptions {
  readonly budget: MemoryBudget;
  readonly maxMessageBytes: number;
  readonly clock: Clock;
}

/** Maximum number of calls at once of the methods that need no token, and of those that last: Watch and reflection. */
const MAX_OPEN_CALLS = 64;
const MAX_LASTING_OPEN_CALLS = 48;

const TOO_MANY_OPEN = `${MAX_OPEN_CALLS} calls that need no token are served at once, ${MAX_LASTING_OPEN_CALLS} of them streams`;

/** How long a caller that has more to send may take to read why its call has ended. */
const STATUS_TIMEOUT_MS = 5000;

/** Maximum size of a request that has no tensors. */
const MAX_SMALL_BYTES = 64 * 1024;

/** How long a caller may send nothing of a request that is not complete: of an open method, and of others. */
const OPEN_SILENCE_MS = 10_000;
const SILENCE_MS = 30_000;

/**
 * Bounds what calls hold of their requests before a handler has them: how many calls there are, how large messages are, what
 * they inflate to, and how long they may take to arrive. Must be the first interceptor, which gets the library's own call.
 */
export function createCallLimits({ budget, maxMessageBytes, clock }: CallLimitsOptions): ServerInterceptor {
  const open = new OpenCalls();
  const incoming = new RequestWatchdog(clock);

  return (method, call) => {
    const inside = getGrpcJsCall(call);
    if (!inside) return refusing(call, { code: status.INTERNAL, details: 'this version of @grpc/grpc-js is unknown' });
    closeAfterStatus(inside);
    const { path, requestStream } = method;
    const isOpen = isPublicMethod(path);
    const isLasting = isOpen && (requestStream || method.responseStream);
    try {
      if (isOpen) open.makeRoom(isLasting);
      const intake = isOpen
        ? new PublicRequestReader(inside, requestStream, clock)
        : new BudgetedRequestReader(inside, {
            budget,
            clock,
            isStream: requestStream,
            ...guardedSizes(path, maxMessageBytes),
          });
      if (isOpen) open.add(inside, intake, isLasting);
      incoming.add(inside, intake, isOpen ? OPEN_SILENCE_MS : SILENCE_MS);
      // The call itself: each wrapper would cost every message.
      return call as ServerInterceptingCall;
    } catch (error) {
      return refusing(call, { code: status.RESOURCE_EXHAUSTED, details: getErrorMessage(error) });
    }
  };
}

/** Only inferences have messages of any size. */
function guardedSizes(path: string, maxMessageBytes: number) {
  const hasTensors = path === INFERENCE_SERVICE.modelInfer.path || path === INFERENCE_SERVICE.modelStreamInfer.path;
  return { hasTensors, maxMessageBytes: hasTensors ? maxMessageBytes : Math.min(MAX_SMALL_BYTES, maxMessageBytes) };
}

/** A call of an open method. */
interface OpenCall {
  readonly inside: GrpcJsCall;
  readonly intake: RequestReader;
  readonly isLasting: boolean;
}

/** The calls of open methods. */
class OpenCalls {
  readonly #calls = new Set<OpenCall>();

  /**
   * Makes room for one more call. When there are too many, the oldest goes whose request has not arrived: health checks
   * arrive whole, and whoever holds their places with requests that never end must not keep them out. Throws when there is none.
   */
  makeRoom(isLasting: boolean): void {
    const lasting = [...this.#calls].filter((call) => call.isLasting);
    const isFull = isLasting && lasting.length >= MAX_LASTING_OPEN_CALLS;
    if (!isFull && this.#calls.size < MAX_OPEN_CALLS) return;
    const stalled = (isFull ? lasting : [...this.#calls]).find(({ intake }) => intake.isWaiting);
    if (!stalled) throw new Error(TOO_MANY_OPEN);
    this.#calls.delete(stalled);
    stalled.inside.sendStatus({ code: status.RESOURCE_EXHAUSTED, details: TOO_MANY_OPEN });
  }

  /** Counts a call until it ends. */
  add(inside: GrpcJsCall, intake: RequestReader, isLasting: boolean): void {
    const call = { inside, intake, isLasting };
    this.#calls.add(call);
    inside.stream.once('close', () => this.#calls.delete(call));
  }
}

/** Has a stream end when its status is sent, though the caller has more to send; it would be kept until that was sent. */
function closeAfterStatus(inside: GrpcJsCall): void {
  const { stream } = inside;
  const sendStatus = inside.sendStatus.bind(inside);
  inside.sendStatus = (ended) => {
    sendStatus(ended);
    if (inside.receivedHalfClose || stream.destroyed) return;
    const close = (): void => void setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    // A caller that does not read gets no status either.
    stream.setTimeout(STATUS_TIMEOUT_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    if (stream.headersSent && !stream.writableFinished) stream.once('wantTrailers', close);
    else close();
  };
}

/** Ends a call with a status before anything of its request is read. */
function refusing(call: ServerInterceptingCallInterface, ended: CallStatus): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start(next) {
      const listener = new ServerListenerBuilder().withOnReceiveMetadata(() => call.sendStatus(ended));
      next(listener.build());
    },
  });
}
