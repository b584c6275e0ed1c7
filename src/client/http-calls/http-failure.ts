import { AnyserveError, type ErrorCode } from '../../core/errors.js';
import type { EngineFailure } from '../../http/engine-client/engine-call.js';
import { extractErrorMessage } from '../../inference/openai-errors.js';
import {
  BrokenConnectionError,
  ConnectTimeoutError,
  InvalidResponseError,
  NotStartedError,
} from '../connection-errors.js';
import type { Target } from '../discovery.js';

/** A response that has arrived as a whole, as it was received. */
export interface BufferedResponse {
  readonly status: number;
  readonly reason: string;
  /** Names and values in turn. Bytes are Latin-1 characters. */
  readonly headers: readonly string[];
  readonly body: readonly Buffer[];
}

/** An error response after which another replica is tried. Its caller gets the response as it came if none can do better. */
export class HttpStatusError extends AnyserveError {
  readonly response: BufferedResponse;
  /** The replica that sent it. */
  readonly target: Target;
  /** Time for which the replica asked not to be called, in ms. */
  readonly pushBackMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    response: BufferedResponse,
    target: Target,
    pushBackMs: number | undefined,
  ) {
    super(code, message);
    this.response = response;
    this.target = target;
    this.pushBackMs = pushBackMs;
  }
}

/** Codes of the statuses that another replica may not return. All other responses are those of the model. */
const RETRIED_STATUSES: Readonly<Record<number, ErrorCode>> = {
  429: 'resource_exhausted',
  500: 'internal',
  501: 'unimplemented',
  502: 'internal',
  503: 'unavailable',
  504: 'internal',
  // "Overloaded", of Anthropic and of servers that follow it.
  529: 'unavailable',
};

/** Maximum number of bytes of an error body that are parsed. */
const MAX_PARSED_BYTES = 64 * 1024;

/** Returns the error for a response after which another replica is tried; undefined if the response is for the caller. */
export function toStatusError(
  response: BufferedResponse,
  target: Target,
  model: string,
  epochMs: number,
): HttpStatusError | undefined {
  const { status, reason } = response;
  const code = status === 404 && isModelMissing(response, model) ? 'not_found' : RETRIED_STATUSES[status];
  if (code === undefined) return undefined;
  const message = extractErrorMessage(getText(response));
  const pushBackMs = readRetryAfterMs(getHeader(response.headers, 'retry-after'), epochMs);
  const text = `${target.endpoint}: HTTP ${status} ${reason}: ${message}`;
  return new HttpStatusError(code, text, response, target, pushBackMs);
}

/** Returns whether a 404 is about the model, as those of vLLM, SGLang, llama.cpp, Ollama and OpenAI are. */
function isModelMissing(response: BufferedResponse, model: string): boolean {
  const text = getText(response);
  return text.includes(JSON.stringify(model).slice(1, -1)) || text.includes('model_not_found');
}

function getText({ body }: BufferedResponse): string {
  return Buffer.concat(body).subarray(0, MAX_PARSED_BYTES).toString();
}

/** Returns the first value of a header. */
export function getHeader(headers: readonly string[], name: string): string | undefined {
  for (let index = 0; index < headers.length; index += 2)
    if (headers[index]?.length === name.length && headers[index]?.toLowerCase() === name) return headers[index + 1];
  return undefined;
}

/** Returns the time of a `retry-after` header, in seconds or as a date (RFC 9110), in ms. */
function readRetryAfterMs(text: string | undefined, epochMs: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  // biome-ignore lint/style/noRestrictedGlobals: a conversion, which doesn't read the time
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - epochMs);
}

/** Converts the failure of a connection to an engine. */
export function toConnectionFailure({ kind, message, cause }: EngineFailure): AnyserveError {
  switch (kind) {
    case 'connect_failed':
      return new NotStartedError('unavailable', message, { cause });
    case 'connect_timeout':
      return new ConnectTimeoutError('unavailable', message, { cause });
    case 'no_response':
    case 'truncated':
      return new BrokenConnectionError('unavailable', message, { cause });
    case 'bad_response':
      return new InvalidResponseError('internal', message, { cause });
    default:
      return kind satisfies never;
  }
}
