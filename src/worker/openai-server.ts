import type { EngineConnection } from '../client/engine/engine-connection.js';
import { ByteCollector, decodeUtf8 } from '../core/byte-collector.js';
import { AnyserveError } from '../core/errors.js';
import type { UntrustedJson } from '../inference/openai-errors.js';
import type { JsonObject } from '../json/json-value.js';
import { readStreamedDocuments } from './openai-stream.js';
import { OpenaiTransport, type OpenaiTransportOptions } from './openai-transport.js';
import { OptionalFields } from './optional-fields.js';

/** Maximum size of a response with a single text, in bytes. */
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

const CONNECTION_CLOSED = 'the connection was closed before the response was complete';

/** Calls an OpenAI-compatible server. Its responses are unary or streaming. */
export class OpenaiServer {
  readonly #connection: EngineConnection;
  readonly #transport: OpenaiTransport;
  readonly #optionalFields = new OptionalFields();

  constructor(connection: EngineConnection, options: OpenaiTransportOptions) {
    this.#connection = connection;
    this.#transport = new OpenaiTransport(connection, options);
  }

  /** Returns whether any byte of a response to a call has arrived since this time. */
  hasRespondedSince(timeMs: number): boolean {
    return this.#transport.hasRespondedSince(timeMs);
  }

  /** Sends a request with a unary response. Rejects with an error for callers, or with the signal's reason. */
  async post(
    path: string,
    body: JsonObject,
    signal: AbortSignal,
    maxBytes = MAX_RESPONSE_BYTES,
  ): Promise<UntrustedJson> {
    return this.#optionalFields.sendAccepted(body, async (acceptedBody) => {
      const { response, chunks } = await this.#transport.open(path, acceptedBody, signal);
      const collector = new ByteCollector();
      try {
        for await (const chunk of chunks) {
          collector.add(chunk);
          if (collector.length > maxBytes)
            throw new AnyserveError('internal', `its response has more than ${maxBytes} bytes`);
        }
      } catch (error) {
        response.body.destroy();
        throw this.#transport.toCallError(error, signal, CONNECTION_CLOSED);
      }
      return this.#transport.parseResponse(decodeUtf8(collector.bytes));
    });
  }

  /**
   * Sends a request with a streaming response and yields its events. A server that can't stream sends a single event.
   * Rejects as {@link post} does, and if the stream is closed before it is complete.
   */
  async *streamEvents(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { first, rest } = await this.#optionalFields.sendAccepted(body, async (acceptedBody) => {
      const events = this.#streamOnce(path, acceptedBody, signal);
      return { first: await events.next(), rest: events };
    });
    try {
      if (first.done) return;
      yield first.value;
      yield* rest;
    } finally {
      await rest.return(undefined);
    }
  }

  async *#streamOnce(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { response, chunks } = await this.#transport.open(path, body, signal);
    let isDone = false;
    try {
      for await (const { data, isError, isCompleteBody } of readStreamedDocuments(
        chunks,
        response.headers['content-type'],
      )) {
        if (data.trim() === '[DONE]') {
          isDone = true;
          return;
        }
        const event = this.#transport.parseResponse(data, isError);
        isDone ||= isCompleteBody || (event.choices?.some?.((choice: UntrustedJson) => choice?.finish_reason) ?? false);
        yield event;
      }
      if (!isDone) throw new Error('its stream ended before the response was complete');
    } catch (error) {
      throw this.#transport.toCallError(error, signal, CONNECTION_CLOSED);
    } finally {
      // After the last event, reading the body to its end makes the connection reusable.
      if (isDone) response.body.resume();
      else response.body.destroy();
    }
  }

  /** Runs a function that parses a response, and adds the server's URL to its error. */
  addUrlToErrors<T>(parse: () => T): T {
    return this.#connection.failures.addUrlToErrors(parse);
  }

  /** Creates the error for a response that no OpenAI-compatible server sends. */
  createIncompatibleError(problem: string): AnyserveError {
    return this.#connection.failures.createIncompatibleError(problem);
  }
}
