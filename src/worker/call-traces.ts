import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import type { EndTrace, ServedCall, ServerTracer } from '../core/ports.js';

/** Handles a unary method within a trace, which ends with the response or when the caller leaves. */
export function traceUnary<Request, Response>(
  tracer: ServerTracer,
  method: string,
  handle: handleUnaryCall<Request, Response>,
): handleUnaryCall<Request, Response> {
  return (call, respond) =>
    tracer.serve(describeCall(method, call.metadata), (endTrace) => {
      const end = endOnce(endTrace);
      call.on('cancelled', () => end(status.CANCELLED));
      handle(call, (error, value, trailer, flags) => {
        end(error?.code ?? status.OK);
        respond(error, value, trailer, flags);
      });
    });
}

/** Handles a streaming method within a trace, which ends with the stream. */
export function traceStream<Request, Response>(
  tracer: ServerTracer,
  method: string,
  handle: handleBidiStreamingCall<Request, Response>,
): handleBidiStreamingCall<Request, Response> {
  return (call) =>
    tracer.serve(describeCall(method, call.metadata), (endTrace) => {
      const end = endOnce(endTrace);
      call.on('cancelled', () => end(status.CANCELLED));
      call.on('error', (error: Partial<ServiceError>) => end(error.code ?? status.UNKNOWN));
      call.on('finish', () => end(status.OK));
      handle(call);
    });
}

function describeCall(method: string, metadata: Metadata): ServedCall {
  return { protocol: 'grpc', method, getHeader: (name) => metadata.get(name)[0]?.toString() };
}

/** Creates a function that ends a trace with a status. Later calls do nothing. */
function endOnce(endTrace: EndTrace): (code: number) => void {
  let hasEnded = false;
  return (code) => {
    if (hasEnded) return;
    hasEnded = true;
    const error = code === status.OK ? undefined : (status[code] ?? String(code));
    endTrace({ error, details: { 'rpc.grpc.status_code': code } });
  };
}
