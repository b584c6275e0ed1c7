import type { Readable } from 'node:stream';
import { REGISTRY_HEADER } from '../api/instance-json.js';
import { type DroppedEvent, LAST_EVENT_ID_HEADER } from '../api/watch-events.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ApiServers, getRegistryId } from './api-servers.js';
import { EventTooLongError, readServerSentEvents } from './event-stream.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for the next bytes of a stream, in ms: three heartbeats. */
const STREAM_SILENCE_MS = 15_000;

/** Size of the rest of an event: its name, its id and line ends. */
const MAX_EVENT_FRAME_BYTES = 1024;

/** Options of a {@link ResumableStream}. */
export interface ResumableStreamOptions<Event> {
  readonly servers: ApiServers;
  readonly server: ServerAddress;
  readonly clock: Clock;
  /** Whether the process can exit while the stream is open. Default: false. */
  readonly isBackground?: boolean | undefined;
  /** Path with the query string. */
  readonly path: string;
  /** Headers of each request. Default: none. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Name of the stream in messages: `the API server ended the NAME`. */
  readonly name: string;
  /** Describes a server without this stream: `the API server NAME cannot be watched`. */
  readonly whenMissing: string;
  /** Maximum size of the data of an event, in bytes. */
  readonly maxEventBytes: number;
  /** Parses an event. Returns `unknown` for an event to skip, and undefined for invalid data. */
  readonly parse: (name: string | undefined, data: string) => Event | DroppedEvent | 'unknown' | undefined;
}

/**
 * A stream of server-sent events of one API server. It keeps its position, so that a connection after a lost one continues
 * with the events since, if the server still has them.
 */
export class ResumableStream<Event extends { readonly kind: string }> {
  readonly server: ServerAddress;
  readonly #options: ResumableStreamOptions<Event>;
  #lastEventId: string | undefined;
  #registryId: string | undefined;

  /** `lastEventId` is the id of the last event that is already known. */
  constructor(options: ResumableStreamOptions<Event>, lastEventId?: string) {
    this.server = options.server;
    this.#options = options;
    this.#lastEventId = lastEventId;
  }

  /** Id of the registry of the last connection. Undefined if the server doesn't report it. */
  get registryId(): string | undefined {
    return this.#registryId;
  }

  /**
   * Connects, and yields events until the connection ends. Always ends with a rejection: `unimplemented` if the server has
   * no such stream, as the Python server; `server_unauthenticated` or `server_permission_denied` if it refuses the token;
   * `not_an_api_server`; the signal's reason; else `server_unreachable`, including when the stream ends or is silent for 15
   * s.
   */
  async *connect(signal: AbortSignal): AsyncGenerator<Event, never> {
    const { server, name } = this.#options;
    try {
      const response = await this.#request(signal);
      this.#registryId = getRegistryId(response);
      yield* this.#readBody(response.body);
      throw new AnyserveError('server_unreachable', `the API server ${server.name} ended the ${name}`);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof EventTooLongError
        ? new AnyserveError('not_an_api_server', `${server.name} is not an AnyServe API server: ${error.message}`)
        : toUnreachableError(server, error);
    }
  }

  async #request(signal: AbortSignal): Promise<HttpResponse> {
    const { servers, server, path, headers: ownHeaders, whenMissing, isBackground } = this.#options;
    const response = await servers.send(server, {
      method: 'GET',
      path,
      headers: {
        ...ownHeaders,
        accept: 'text/event-stream',
        ...(this.#lastEventId !== undefined && { [LAST_EVENT_ID_HEADER]: this.#lastEventId }),
      },
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
      isBackground,
    });
    const { status, headers } = response;
    if (status === 200 && headers['content-type']?.startsWith('text/event-stream')) return response;
    const text = await servers.readError(response, API_RESPONSE_TIMEOUT_MS);
    if (status === 404 && headers[REGISTRY_HEADER] === undefined)
      throw new AnyserveError('unimplemented', `the API server ${server.name} ${whenMissing}`);
    throw toUnexpectedResponseError(server, response, text);
  }

  async *#readBody(body: Readable): AsyncGenerator<Event> {
    const { server, name: streamName, maxEventBytes, parse } = this.#options;
    const chunks = failOnSilence(body, this.#options);
    for await (const { event: name, data, id } of readServerSentEvents(chunks, maxEventBytes + MAX_EVENT_FRAME_BYTES)) {
      if (id !== undefined) this.#lastEventId = id;
      const event = parse(name, data);
      if (event === 'unknown') continue;
      if (!event) throw createInvalidEventError(server, name);
      if (isDropped(event)) {
        const message = `the API server ${server.name} ended the ${streamName}: ${event.reason}`;
        throw new AnyserveError('server_unreachable', message);
      }
      yield event;
    }
  }
}

function isDropped(event: { readonly kind: string }): event is DroppedEvent {
  return event.kind === 'dropped';
}

function createInvalidEventError(server: ServerAddress, name: string | undefined): AnyserveError {
  const message = `${server.name} is not an AnyServe API server: invalid data in the event ${JSON.stringify(name)}`;
  return new AnyserveError('not_an_api_server', message);
}

/** Yields the chunks of a body. Throws `server_unreachable` when none arrives for 15 s. Closes the body at the end. */
async function* failOnSilence(
  body: Readable,
  { server, clock, isBackground = false }: Pick<ResumableStreamOptions<never>, 'server' | 'clock' | 'isBackground'>,
): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const message = `the API server ${server.name} sent nothing for ${STREAM_SILENCE_MS / 1000} s`;
  try {
    for (;;) {
      // Time in which the reader is busy doesn't count.
      const onSilence = (): void => void body.destroy(new AnyserveError('server_unreachable', message));
      const cancelTimeout = clock.schedule(STREAM_SILENCE_MS, onSilence, { background: isBackground });
      const chunk = await chunks.next().finally(cancelTimeout);
      if (chunk.done) return;
      yield chunk.value;
    }
  } finally {
    body.destroy();
  }
}
