import type { EndTrace, LogDetails } from '../core/ports.js';

/** Numbers of tokens that an engine has counted. */
export interface TokenUsage {
  readonly input: number;
  readonly output: number;
}

/** A finished call of a gateway, for logs and metrics. It has no text of the request or the response. */
export interface FinishedCall {
  /** Name of the caller's key. Undefined without keys. */
  readonly caller: string | undefined;
  /** Path after `/v1`. */
  readonly path: string;
  /** The requested model, which a replica need not offer. Undefined if the request has none. */
  readonly model: string | undefined;
  readonly replicaId: string | undefined;
  readonly status: number;
  readonly attempts: number;
  readonly durationMs: number;
  /** Time to the first byte of a stream of events, in ms. Undefined for other responses. */
  readonly firstByteMs: number | undefined;
  readonly responseBytes: number;
  /** Undefined if the response does not say. */
  readonly usage: TokenUsage | undefined;
  /** Why the response is incomplete; undefined if it is complete. */
  readonly failure: string | undefined;
}

/** Describes a call for a log in JSON. */
export function describeCall(call: FinishedCall): LogDetails {
  return {
    event: 'call',
    path: call.path,
    model: call.model,
    status: call.status,
    duration_ms: round(call.durationMs),
    first_byte_ms: call.firstByteMs === undefined ? undefined : round(call.firstByteMs),
    replica: call.replicaId,
    attempts: call.attempts,
    key: call.caller,
    response_bytes: call.responseBytes,
    input_tokens: call.usage?.input,
    output_tokens: call.usage?.output,
    failure: call.failure,
  };
}

/** Operations of OpenTelemetry's GenAI conventions, by the path of the call. Others have the path as their name. */
const OPERATIONS: Readonly<Record<string, string>> = {
  '/chat/completions': 'chat',
  '/responses': 'chat',
  '/completions': 'text_completion',
  '/embeddings': 'embeddings',
};

/** Returns the operation of a path, by OpenTelemetry's GenAI conventions. */
export function getOperation(path: string): string {
  return OPERATIONS[path] ?? path.slice(1);
}

/** Describes a call for the end of its trace, by OpenTelemetry's GenAI conventions. */
export function toTraceResult(call: FinishedCall): Parameters<EndTrace>[0] {
  const operation = getOperation(call.path);
  return {
    name: call.model === undefined ? operation : `${operation} ${call.model}`,
    error: call.failure ?? (call.status >= 500 ? String(call.status) : undefined),
    details: {
      'gen_ai.operation.name': operation,
      'gen_ai.request.model': call.model,
      'gen_ai.usage.input_tokens': call.usage?.input,
      'gen_ai.usage.output_tokens': call.usage?.output,
      'http.response.status_code': call.status,
      'anyserve.replica.id': call.replicaId,
    },
  };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
