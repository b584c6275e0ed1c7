import type { Readable } from 'node:stream';
import { REGISTRY_HEADER } from '../api/instance-json.js';
import { serializeQuery } from '../api/query.js';
import {
  LAST_EVENT_ID_HEADER,
  MAX_WATCH_EVENT_BYTES,
  parseWatchEvent,
  WATCH_PATH,
  type WatchEvent,
} from '../api/watch-events.js';
import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ApiServers } from './api-servers.js';
import { EventTooLongError, readServerSentEvents } from './event-stream.js';
import type { ServerAddress } from './server-list.js';

/** Three heartbeats. A stream that carries nothing for this long has lost its server. */
const WATCH_SILENCE_TIMEOUT_MS = 15_000;

/** Size of the rest of an event: its name, its id and line ends. */
const MAX_EVENT_FRAME_BYTES = 1024;

/** Options of a {@link WatchStream}. */
export interface WatchStreamOptions {
  readonly servers: ApiServers;
  readonly server: ServerAddress;
  /** The replicas to watch. The empty query matches every replica. */
  readonly query: CapabilityQuery;
  readonly clock: Clock;
}

/**
 * Watches the replicas of one API server. It keeps its position, so that a connection after a lost one continues with the
 * changes since, or gets a new snapshot if the server can't list them.
 */
export class WatchStream {
  readonly server: ServerAddress;
  readonly #options: WatchStreamOptions;
  #lastEventId: string | undefined;

  constructor(options: WatchStreamOptions) {
    this.server = options.server;
    this.#options = options;
  }

  /**
   * Connects, and yields events until the connection ends. Always ends with a rejection: `unimplemented` if the server has
   * no watch, as the Python server; `server_unauthenticated` or `server_permission_denied` if it refuses the token;
   * `not_an_api_server`; the signal's reason; else `server_unreachable`, also when the stream ends or is silent for 15 s.
   */
  async *connect(signal: AbortSignal): AsyncGenerator<WatchEvent, never> {
    const { server } = this.#options;
    try {
      const response = await this.#request(signal);
      yield* this.#readBody(response.body);
      throw new AnyserveError('server_unreachable', `the API server ${server.name} ended the watch`);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof EventTooLongError
        ? new AnyserveError('not_an_api_server', `${server.name} is not an AnyServe API server: ${error.message}`)
        : toUnreachableError(server, error);
    }
  }

  async #request(signal: AbortSignal): Promise<HttpResponse> {
    const { servers, server, query } = this.#options;
    const search = serializeQuery(query);
    const response = await servers.send(server, {
      method: 'GET',
      path: `${WATCH_PATH}${search && `?${search}`}`,
      headers: {
        accept: 'text/event-stream',
        ...(this.#lastEventId !== undefined && { [LAST_EVENT_ID_HEADER]: this.#lastEventId }),
      },
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
    });
    const { status, headers } = response;
    if (status === 200 && headers['content-type']?.startsWith('text/event-stream')) return response;
    const text = await servers.readError(response, API_RESPONSE_TIMEOUT_MS);
    if (status === 404 && headers[REGISTRY_HEADER] === undefined)
      throw new AnyserveError(
        'unimplemented',
        `the API server ${server.name} cannot be watched: it has no ${WATCH_PATH}`,
      );
    throw toUnexpectedResponseError(server, response, text);
  }

  async *#readBody(body: Readable): AsyncGenerator<WatchEvent> {
    const { server } = this.#options;
    const chunks = failOnSilence(body, this.#options);
    for await (const { event: name, data, id } of readServerSentEvents(
      chunks,
      MAX_WATCH_EVENT_BYTES + MAX_EVENT_FRAME_BYTES,
    )) {
      if (id !== undefined) this.#lastEventId = id;
      const event = parseWatchEvent(name, data);
      if (event === 'unknown') continue;
      if (!event) throw createInvalidEventError(server, name);
      if (event.kind === 'dropped')
        throw new AnyserveError('server_unreachable', `the API server ${server.name} ended the watch: ${event.reason}`);
      yield event;
    }
  }
}

function createInvalidEventError(server: ServerAddress, name: string | undefined): AnyserveError {
  const message = `${server.name} is not an AnyServe API server: invalid data in the event ${JSON.stringify(name)}`;
  return new AnyserveError('not_an_api_server', message);
}

/** Yields the chunks of a body. Throws `server_unreachable` when none arrives for 15 s. Closes the body at the end. */
async function* failOnSilence(body: Readable, { server, clock }: WatchStreamOptions): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const message = `the API server ${server.name} sent nothing for ${WATCH_SILENCE_TIMEOUT_MS / 1000} s`;
  try {
    for (;;) {
      // Time in which the reader is busy doesn't count.
      const cancelTimeout = clock.schedule(WATCH_SILENCE_TIMEOUT_MS, () => {
        body.destroy(new AnyserveError('server_unreachable', message));
      });
      const chunk = await chunks.next().finally(cancelTimeout);
      if (chunk.done) return;
      yield chunk.value;
    }
  } finally {
    body.destroy();
  }
}
