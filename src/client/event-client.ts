import { parseErrorDetail } from '../api/api-responses.js';
import { formatEventPosition } from '../api/event-frames.js';
import { parseHistory, parseReceivedEvent, type ReceivedEvent, type ReceivedHistory } from '../api/event-json.js';
import { EVENTS_PATH, type EventFilters, serializeEventFilters } from '../api/event-query.js';
import { REGISTRY_HEADER } from '../api/instance-json.js';
import { parseDroppedEvent } from '../api/watch-events.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { AllResponses, ApiRequest, ApiRequestOptions, ApiServers } from './api-servers.js';
import { ResumableStream } from './resumable-stream.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for the body of a history, in ms. It can have 8 MiB. */
const HISTORY_TIMEOUT_MS = 30_000;

/** Maximum size of a history. JSON escapes can make a text six times as long. */
const MAX_HISTORY_BYTES = 64 * 1024 * 1024;

/** Maximum size of an event, in bytes. Its texts have at most 256 characters. */
const MAX_EVENT_BYTES = 64 * 1024;

/** The history of one API server. */
export type ServerHistory = AllResponses<ReceivedHistory>['responses'][number];

/** Drops the histories of servers that are listed twice, under different addresses. */
export function dropSameProcess(histories: readonly ServerHistory[]): readonly ServerHistory[] {
  const byEpoch = new Map<string, ServerHistory>();
  for (const history of histories) if (!byEpoch.has(history.value.epoch)) byEpoch.set(history.value.epoch, history);
  return [...byEpoch.values()];
}

/** A stream of the events of one API server. */
export type ServerEventStream = ResumableStream<ReceivedEvent>;

/** Reads the histories of API servers. */
export class EventClient {
  readonly #servers: ApiServers;
  readonly #clock: Clock;

  constructor(servers: ApiServers, clock: Clock) {
    this.#servers = servers;
    this.#clock = clock;
  }

  /**
   * Lists the events of all servers that pass the filters. Rejects if no server responds: with `unimplemented` if it keeps no
   * history, as the Python server.
   */
  list(filters: EventFilters, options: ApiRequestOptions = {}): Promise<AllResponses<ReceivedHistory>> {
    return this.#servers.askAll(options, (server, signal) =>
      this.#servers.get(server, createHistoryRequest(server, filters), signal),
    );
  }

  /** Creates a stream of the events of one server that pass the filters. With a history, begins after its last event. */
  follow(server: ServerAddress, filters: EventFilters, history?: ReceivedHistory): ServerEventStream {
    const position = history && { epoch: history.epoch, number: history.events.at(-1)?.seq ?? 0 };
    const search = serializeEventFilters(filters);
    const options = {
      servers: this.#servers,
      server,
      clock: this.#clock,
      path: `${EVENTS_PATH}?follow${search && `&${search}`}`,
      name: 'stream of events',
      whenMissing: WHEN_MISSING,
      maxEventBytes: MAX_EVENT_BYTES,
      parse: parseStreamedEvent,
    };
    return new ResumableStream<ReceivedEvent>(options, position && formatEventPosition(position));
  }
}

const WHEN_MISSING = `keeps no history of events: it has no ${EVENTS_PATH}`;

function createHistoryRequest(server: ServerAddress, filters: EventFilters): ApiRequest<ReceivedHistory> {
  const search = serializeEventFilters(filters);
  return {
    path: `${EVENTS_PATH}${search && `?${search}`}`,
    maxBytes: MAX_HISTORY_BYTES,
    bodyTimeoutMs: HISTORY_TIMEOUT_MS,
    parse(status, body, headers) {
      if (status === 404 && headers[REGISTRY_HEADER] === undefined)
        throw new AnyserveError('unimplemented', `the API server ${server.name} ${WHEN_MISSING}`);
      if (status === 400 && headers[REGISTRY_HEADER] !== undefined)
        throw new AnyserveError(
          'failed',
          `the API server ${server.name} refuses the filter: ${parseErrorDetail(body)}`,
        );
      const history = status === 200 ? parseHistory(body) : undefined;
      return history && { value: history };
    },
  };
}

function parseStreamedEvent(name: string | undefined, data: string) {
  return name === 'dropped' ? parseDroppedEvent(data) : parseReceivedEvent(data);
}
