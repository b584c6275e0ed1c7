import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { formatEventFrame, parseEventPosition } from '../api/event-frames.js';
import { type EventQuery, matchesEventQuery, parseEventQuery } from '../api/event-query.js';
import { formatDroppedEvent, LAST_EVENT_ID_HEADER } from '../api/watch-events.js';
import { toHost } from '../core/host.js';
import type { Clock } from '../core/ports.js';
import { RETRY_LATER_HEADERS } from '../http/json-response.js';
import { parseTarget } from '../http/request-head.js';
import type { HistoryEntry } from '../telemetry/event-history.js';
import { createErrorResponse, sendError } from './error-response.js';
import type { EventStreamResponse, EventStreams, ReadEvents } from './event-stream-response.js';
import { sendList } from './list-handlers.js';
import type { ListMemory } from './list-memory.js';
import type { Readiness } from './readiness.js';
import type { ReadableHistory } from './registry-parts.js';
import { StreamLimit } from './stream-limit.js';

/** Options of the events handler. */
export interface EventsHandlerOptions {
  readonly history: ReadableHistory;
  readonly streams: EventStreams;
  readonly lists: ListMemory;
  readonly readiness: Pick<Readiness, 'findReason'>;
  readonly clock: Clock;
  /** Counts the streams of all handlers. */
  readonly eventStreamLimit: StreamLimit;
}

/** Approximate size of the parts that a list is sent in, in UTF-16 units. */
const LIST_PART_UNITS = 64 * 1024;

/** Approximate size of the parts that a stream reads. Each slow client holds one or two. */
const STREAM_PART_UNITS = 16 * 1024;

const FULL =
  'this API server has no room for another stream of events; try again, or ask for the events without follow';

/** Creates the limit on streams of events. */
export function createEventStreamLimit(maxPerPeer: number | undefined): StreamLimit {
  return new StreamLimit({ name: 'event streams', max: 1000, whenFull: FULL, maxPerPeer });
}

/** The checks that a stream needs. */
const REQUIRED_CHECKS = ['phase', 'open_files'];

/** Time for which new events are collected before they are sent, in ms. */
const COLLECT_MS = 20;

const DROPPED_EVENT = formatDroppedEvent('events that the client has not received are no longer kept');

/**
 * Creates the handler of `GET /events`: the history of the registry as JSON, oldest first. With `?follow`, server-sent
 * events: the history, and then each new event.
 */
export function createEventsHandler(options: EventsHandlerOptions): RequestHandler {
  const { history, lists } = options;
  const follow = createFollower(options);
  return (request, response) => {
    const query = parseEventQuery(parseTarget(request.url).search);
    if (typeof query === 'string') return sendError(response, 'usage', query);
    if (query.isFollowed) return follow(query, request, response);
    const entries = findEntries(history, skipForeignNumbers(query, history));
    return sendList(response, serializeEntries(history.epoch, entries), lists);
  };
}

/** Creates a function that turns a response into a stream of the history and of new events. */
function createFollower({ history, streams, readiness, clock, eventStreamLimit: limit }: EventsHandlerOptions) {
  const followers = new Set<EventStreamResponse>();
  let isNotifying = false;
  history.subscribe(() => {
    if (isNotifying || followers.size === 0) return;
    isNotifying = true;
    const notifyAll = (): void => {
      isNotifying = false;
      for (const follower of followers) follower.notify();
    };
    clock.schedule(COLLECT_MS, notifyAll, { background: true });
  });
  return (query: EventQuery, request: IncomingMessage, response: ServerResponse): void => {
    const isReady = REQUIRED_CHECKS.every((name) => readiness.findReason(name) === undefined);
    if (!isReady) return void sendNoRoom(response);
    const host = toHost(request.socket.remoteAddress);
    const refusal = limit.check(host);
    if (refusal) return void sendError(response, refusal.code, refusal.message, RETRY_LATER_HEADERS);
    const resumed = resumeQuery(query, request, history);
    const stream = streams.open(response, createEventReader(resumed, history));
    const release = limit.add(host);
    followers.add(stream);
    stream.onClosed(() => {
      release();
      followers.delete(stream);
    });
  };
}

const sendNoRoom = createErrorResponse('unavailable', FULL, RETRY_LATER_HEADERS);

/**
 * Returns the query for the events after the last one that the client has received. The client of an earlier process of this
 * server gets the whole history.
 */
function resumeQuery(query: EventQuery, { headers }: IncomingMessage, history: ReadableHistory): EventQuery {
  const header = headers[LAST_EVENT_ID_HEADER];
  const position = parseEventPosition(typeof header === 'string' ? header : undefined);
  if (!position) return skipForeignNumbers(query, history);
  return { ...query, since: position.epoch === history.epoch ? position.number : 0 };
}

/** Ignores a number that this process has not reached: it is from an earlier process of this server. */
function skipForeignNumbers(query: EventQuery, { lastSeq }: ReadableHistory): EventQuery {
  return query.since > lastSeq ? { ...query, since: 0 } : query;
}

/** Returns the newest events that match, oldest first. */
function findEntries(history: ReadableHistory, query: EventQuery): HistoryEntry[] {
  const found: HistoryEntry[] = [];
  for (const entry of history.listAfter(query.since)) if (matchesEventQuery(query, entry)) found.push(entry);
  return query.limit < found.length ? found.slice(found.length - query.limit) : found;
}

/**
 * Creates a function that returns the next events each time it is called. The history holds them meanwhile: a stream keeps
 * only the number of its last event. A client that is so slow that the history has dropped events before it could receive
 * them gets a last event that reports this. Refused registrations are omitted instead, because anyone can cause them.
 */
function createEventReader(query: EventQuery, history: ReadableHistory): ReadEvents {
  const first = query.limit === Number.POSITIVE_INFINITY ? undefined : findEntries(history, query)[0];
  const start = first ? first.seq - 1 : query.limit === 0 ? history.lastSeq : query.since;
  let readSeq = Math.max(start, history.droppedSeq);
  const { epoch } = history;
  return (stream) => {
    if (history.droppedSeq > readSeq) {
      stream.end(DROPPED_EVENT);
      return '';
    }
    let frames = '';
    for (const entry of history.listAfter(readSeq)) {
      readSeq = entry.seq;
      if (!matchesEventQuery(query, entry)) continue;
      frames += formatEventFrame({ position: { epoch, number: entry.seq }, event: entry.kind, data: entry.data });
      if (frames.length >= STREAM_PART_UNITS) break;
    }
    return frames;
  };
}

/** Serializes the response in parts. */
function* serializeEntries(epoch: string, entries: readonly HistoryEntry[]): Generator<Buffer> {
  let text = `{"epoch":${JSON.stringify(epoch)},"events":[`;
  for (const [index, { data }] of entries.entries()) {
    text += index === 0 ? data : `,${data}`;
    if (text.length < LIST_PART_UNITS) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(`${text}]}`);
}
