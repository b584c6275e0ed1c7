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

/** Formats a call as a line of a log in JSON, without the line feed. */
export function formatCallJson(call: FinishedCall, epochMs: number): string {
  const isBad = call.status >= 500 || call.failure !== undefined;
  // biome-ignore lint/style/noRestrictedGlobals: a conversion, which doesn't read the time
  const time = new Date(epochMs).toISOString();
  return JSON.stringify({
    time,
    level: isBad ? 'warn' : 'info',
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
  });
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
