import type { EngineConnection } from '../client/engine/engine-connection.js';
import type { Clock } from '../core/ports.js';
import { getErrorStatus, type UntrustedJson, UpstreamError, unwrapError } from '../inference/openai-errors.js';
import { type JsonObject, serializeJson } from '../json/json-value.js';
import type { OpenaiSettings } from './openai-settings.js';
import { EngineTimeoutError, readChunksWithTimeout } from './openai-stream.js';

/** Options of an {@link OpenaiTransport}. */
export interface OpenaiTransportOptions extends Pick<OpenaiSettings, 'timeoutMs' | 'idleTimeoutMs'> {
  readonly clock: Clock;
}

/** Maximum size of an error event that is parsed as JSON. */
const MAX_ERROR_CHARACTERS = 64 * 1024;

/** Sends calls to an OpenAI-compatible server, within the time limits of calls, and recognizes errors in responses. */
export class OpenaiTransport {
  readonly #connection: EngineConnection;
  readonly #options: OpenaiTransportOptions;
  #lastByteAtMs = Number.NEGATIVE_INFINITY;

  constructor(connection: EngineConnection, options: OpenaiTransportOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Returns whether any byte of a response to a call has arrived since this time. */
  hasRespondedSince(timeMs: number): boolean {
    return this.#lastByteAtMs >= timeMs;
  }

  /** Sends a request and resolves when the response's headers have arrived. Rejects for an error status. */
  async open(path: string, body: JsonObject, signal: AbortSignal) {
    const { clock, timeoutMs, idleTimeoutMs } = this.#options;
    const startedAtMs = clock.nowMs();
    try {
      const response = await this.#connection.post(path, serializeJson(body), timeoutMs, signal);
      const onBytes = (): void => {
        this.#lastByteAtMs = clock.nowMs();
      };
      if (response.status < 500) onBytes();
      if (response.status !== 200) throw await this.#connection.readStatusError(response);
      // Engines send the headers immediately, and the first byte of the body after processing the prompt.
      const firstByteMs = Math.max(1, timeoutMs - (clock.nowMs() - startedAtMs));
      return {
        response,
        chunks: readChunksWithTimeout(response.body, { clock, firstByteMs, idleMs: idleTimeoutMs, onBytes }),
      };
    } catch (error) {
      throw this.toCallError(error, signal);
    }
  }

  /** Converts the failure of a call to an error for callers, or returns the signal's reason if we aborted it. */
  toCallError(error: unknown, signal: AbortSignal, reason?: string): unknown {
    return this.#connection.failures.toConnectionError(error, signal, this.#describeTimeout(error), reason);
  }

  #describeTimeout(error: unknown): string {
    const { timeoutMs, idleTimeoutMs } = this.#options;
    return error instanceof EngineTimeoutError && !error.isFirstByte
      ? `its response paused for ${idleTimeoutMs / 1000} s; --openai-idle-timeout sets this limit`
      : `no response within ${timeoutMs / 1000} s; --openai-timeout sets this limit`;
  }

  /** Parses a response or an event. Throws if it is an error, which can also have the status 200. */
  parseResponse(text: string, isError = false): UntrustedJson {
    const json = unwrapError(isError ? parseErrorEvent(text) : this.#connection.parseDocument(text));
    const failedChoice = json.choices?.find?.((choice: UntrustedJson) => choice?.error);
    const isBare = json.object === 'error' || isError || isBareError(json);
    const error = json.error || failedChoice?.error || (isBare && json);
    if (!error) return json;
    const errorFields = typeof error === 'object' ? error : json;
    const body = failedChoice ? JSON.stringify({ error }) : text;
    const { url, failures } = this.#connection;
    const message = `${url} returned an error: ${failures.extractMessage(body)}`;
    throw new UpstreamError(getErrorStatus(errorFields), text, message);
  }
}

/** Returns whether a document is an error without an `error` field: `{"message":"..."}`, or FastAPI's `{"detail":...}`. */
function isBareError({ choices, data, message, detail, errors }: UntrustedJson): boolean {
  return !choices && !data && (typeof message === 'string' || Boolean(detail) || Array.isArray(errors));
}

/** Parses the data of an error event: a JSON document or plain text. */
function parseErrorEvent(text: string): UntrustedJson {
  try {
    const json: unknown = text.length > MAX_ERROR_CHARACTERS ? undefined : JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // The data is not JSON, so it is plain text.
  }
  return { message: text };
}
