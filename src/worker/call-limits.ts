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
import type { WorkerMetrics } from '../telemetry/worker-metrics.js';
import { isPublicMethod } from './auth-interceptor.js';
import { BudgetedRequestReader } from './budgeted-request-reader.js';
import { type CallStatus, type GrpcJsCall, getGrpcJsCall } from './grpc-js-workarounds.js';
import type { MemoryBudget } from './memory-budget.js';
import { PublicCalls } from './public-calls.js';
import { PublicRequestReader } from './public-request-reader.js';
import { RequestWatchdog } from './request-watchdog.js';

/** Limits on the memory that calls hold before a handler gets their requests. */
export interface CallLimitsOptions {
  readonly budget: MemoryBudget;
  readonly maxMessageBytes: number;
  readonly clock: Clock;
  /** Receives the status of each call of the inference protocol. Default: nothing is measured. */
  readonly metrics?: Pick<WorkerMetrics, 'recordCall'> | undefined;
}

/** Timeout for delivering the status to a caller that is still sending its request, in ms. */
const STATUS_TIMEOUT_MS = 5000;

/** Maximum size of a request without tensors. */
const MAX_SMALL_REQUEST_BYTES = 64 * 1024;

/** Timeout for receiving a complete request of a public method, in ms. */
const PUBLIC_REQUEST_TIMEOUT_MS = 10_000;

/** Timeout for receiving the next bytes of any other request, in ms. */
const REQUEST_IDLE_TIMEOUT_MS = 30_000;

/**
 * Creates an interceptor that limits what calls can use before a handler gets their requests: the number of calls, the size
 * of messages before and after decompression, and the time they take to arrive. It must be the first interceptor, because
 * only the first one receives the library's own call object.
 */
export function createCallLimits({ budget, maxMessageBytes, clock, metrics }: CallLimitsOptions): ServerInterceptor {
  const publicCalls = new PublicCalls();
  const watchdog = new RequestWatchdog(clock);

  return (method, call) => {
    const grpcCall = getGrpcJsCall(call);
    if (!grpcCall) return rejectCall(call, { code: status.INTERNAL, details: 'unsupported version of @grpc/grpc-js' });
    closeAfterStatus(grpcCall);
    const name = METHOD_NAMES.get(method.path);
    if (metrics && name !== undefined) {
      measureCall(grpcCall, clock, (code, ms) => metrics.recordCall(name, status[code] ?? 'UNKNOWN', ms));
    }
    const { path, requestStream } = method;
    const isPublic = isPublicMethod(path);
    const isStream = requestStream || method.responseStream;
    try {
      if (isPublic) publicCalls.makeRoom(grpcCall, isStream);
      const reader = isPublic
        ? new PublicRequestReader(grpcCall, requestStream, clock)
        : new BudgetedRequestReader(grpcCall, {
            budget,
            clock,
            isStream: requestStream,
            ...getMessageLimits(path, maxMessageBytes),
          });
      if (isPublic) publicCalls.add(grpcCall, reader, isStream);
      watchdog.add(grpcCall, reader, isPublic ? PUBLIC_REQUEST_TIMEOUT_MS : REQUEST_IDLE_TIMEOUT_MS);
      // Returned without a wrapper, because each wrapper adds work to every message.
      return call as ServerInterceptingCall;
    } catch (error) {
      return rejectCall(call, { code: status.RESOURCE_EXHAUSTED, details: getErrorMessage(error) });
    }
  };
}

/** Returns the message limits of a method. Only inference requests contain tensors and can be large. */
function getMessageLimits(path: string, maxMessageBytes: number) {
  const hasTensors = path === INFERENCE_SERVICE.modelInfer.path || path === INFERENCE_SERVICE.modelStreamInfer.path;
  const smallBytes = Math.min(MAX_SMALL_REQUEST_BYTES, maxMessageBytes);
  return { hasTensors, maxMessageBytes: hasTensors ? maxMessageBytes : smallBytes };
}

/** The names of the inference protocol's methods, by path. */
const METHOD_NAMES: ReadonlyMap<string, string> = new Map(
  Object.values(INFERENCE_SERVICE).map(({ path }) => [path, path.slice(path.lastIndexOf('/') + 1)]),
);

/** Reports the status of a call and the time since its start. A call that its caller has ended is reported as cancelled. */
function measureCall(grpcCall: GrpcJsCall, clock: Clock, onEnd: (code: number, durationMs: number) => void): void {
  const startedAtMs = clock.nowMs();
  let hasEnded = false;
  const end = (code: number): void => {
    if (!hasEnded) onEnd(code, clock.nowMs() - startedAtMs);
    hasEnded = true;
  };
  const sendStatus = grpcCall.sendStatus.bind(grpcCall);
  grpcCall.sendStatus = (callStatus) => {
    sendStatus(callStatus);
    end(callStatus.code);
  };
  grpcCall.stream.once('close', () => end(status.CANCELLED));
}

/** Closes a call's stream after its status. Otherwise a stream whose caller keeps sending would stay open. */
function closeAfterStatus(grpcCall: GrpcJsCall): void {
  const { stream } = grpcCall;
  const sendStatus = grpcCall.sendStatus.bind(grpcCall);
  grpcCall.sendStatus = (callStatus) => {
    sendStatus(callStatus);
    if (grpcCall.receivedHalfClose || stream.destroyed) return;
    const close = (): void => void setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    // A caller that does not read never receives the status, so the stream is closed without it.
    stream.setTimeout(STATUS_TIMEOUT_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    if (stream.headersSent && !stream.writableFinished) stream.once('wantTrailers', close);
    else close();
  };
}

/** Ends a call with a status before any of its request is read. */
function rejectCall(call: ServerInterceptingCallInterface, callStatus: CallStatus): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start(next) {
      const listener = new ServerListenerBuilder().withOnReceiveMetadata(() => call.sendStatus(callStatus));
      next(listener.build());
    },
  });
}
