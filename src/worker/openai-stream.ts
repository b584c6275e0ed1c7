import type { Readable } from 'node:stream';
import { createParser } from 'eventsource-parser';
import { createLineEndingNormalizer } from '../client/event-stream.js';
import { ByteCollector } from '../core/byte-collector.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';

/** Maximum number of characters of one event. A server that doesn't stream can send a complete response as one event. */
const MAX_EVENT_CHARACTERS = 16 * 1024 * 1024;

/** Names of events that servers and proxies send only to keep the connection open. */
const KEEP_ALIVE_EVENT = /^(?:ping|heart-?beat|keep-?alive)$/i;

/** Timeouts for the chunks of a body. The total time is only limited by the caller's deadline. */
export interface ChunkTimeouts {
  readonly clock: Clock;
  /** Timeout for the first byte of the body, in ms. */
  readonly firstByteMs: number;
  /** Timeout between two bytes, in ms. Comments of an event stream count as bytes. */
  readonly idleMs: number;
  /** Called for each chunk that arrives. */
  onBytes(): void;
}

/** Thrown when an engine sends nothing for too long. */
export class EngineTimeoutError extends Error {
  override readonly name = 'EngineTimeoutError';
  /** As that of an HTTP client's timeout. */
  readonly code = 'ETIMEDOUT';
  readonly isFirstByte: boolean;

  constructor(isFirstByte: boolean) {
    super('no data within the timeout');
    this.isFirstByte = isFirstByte;
  }
}

/**
 * Yields the chunks of a body as they arrive, without closing it. The timeouts only count time spent waiting for the
 * engine, not the time of a slow reader. On a timeout, destroys the body and throws {@link EngineTimeoutError}.
 */
export async function* readChunksWithTimeout(body: Readable, limits: ChunkTimeouts): AsyncGenerator<Buffer> {
  const chunks = body.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let limitMs = limits.firstByteMs;
  for (let isFirst = true; ; isFirst = false) {
    const cancel = limits.clock.schedule(limitMs, () => body.destroy(new EngineTimeoutError(isFirst)));
    const { value, done } = await chunks.next().finally(cancel);
    if (done) return;
    limits.onBytes();
    limitMs = limits.idleMs;
    yield value;
  }
}

/** One document of a response: an event of a stream, or the complete body of a server that doesn't stream. */
export interface StreamedDocument {
  readonly data: string;
  /** Whether the event's type is `error`. */
  readonly isError: boolean;
  /** Whether the document is the complete body. */
  readonly isCompleteBody: boolean;
}

/**
 * Yields the events of a stream, or the body as one document. The start of the body decides which it is, because some
 * servers and proxies drop the content type of streams, or set it on JSON documents. Throws for an event or document that
 * is too long.
 */
export async function* readStreamedDocuments(
  chunks: AsyncIterable<Buffer>,
  contentType: string | undefined,
): AsyncGenerator<StreamedDocument> {
  const isDeclared = /^text\/event-stream\b/i.test(contentType ?? '');
  const decoder = new TextDecoder();
  let body: ByteCollector | undefined = new ByteCollector();
  let start = '';
  let readEvents: ReturnType<typeof createEventReader> | undefined;
  for await (const chunk of chunks) {
    body?.add(chunk);
    if (body && body.length > MAX_EVENT_CHARACTERS) throw createTooLongError();
    if (start === '' || readEvents) {
      let text = decoder.decode(chunk, { stream: true });
      if (!readEvents) {
        start = text = text.trimStart();
        if (start === '' || !isEventStream(start, isDeclared)) continue;
        readEvents = createEventReader();
        body = undefined;
      }
      yield* readEvents(text);
    }
  }
  // Some servers omit the blank line after the last event.
  if (readEvents) yield* readEvents('\n');
  else yield { data: new TextDecoder().decode(body?.bytes), isError: false, isCompleteBody: true };
}

/** Returns whether a body with this start is an event stream and not a JSON document. */
function isEventStream(start: string, isDeclared: boolean): boolean {
  return isDeclared ? !/^[[{]/.test(start) : /^[deir:]/.test(start);
}

/** Creates a function that takes the next text of a stream and returns the events that it completes. */
function createEventReader(): (text: string) => StreamedDocument[] {
  const completed: StreamedDocument[] = [];
  const parser = createParser({
    onEvent({ data, event }) {
      const isError = event === 'error';
      // Events without data, or with a keep-alive name, only keep the stream open.
      if (isError || (data.trim() !== '' && !KEEP_ALIVE_EVENT.test(event ?? '')))
        completed.push({ data, isError, isCompleteBody: false });
    },
    onError({ type, field, value = '', line = '' }) {
      if (type !== 'unknown-field') return;
      // Older llama.cpp servers send a field "error"; some servers and proxies send an error without a field name.
      if (field === 'error') completed.push({ data: value, isError: true, isCompleteBody: false });
      else if (line.startsWith('{')) completed.push({ data: line, isError: false, isCompleteBody: false });
    },
  });
  const normalizeLineEndings = createLineEndingNormalizer();
  let lengthSinceEvent = 0;
  return (text) => {
    parser.feed(normalizeLineEndings(text));
    // Counts all text, because the parser takes 64 bytes for each line of data, even an empty one.
    lengthSinceEvent = completed.length > 0 ? 0 : lengthSinceEvent + text.length;
    if (lengthSinceEvent > MAX_EVENT_CHARACTERS) throw createTooLongError();
    return completed.splice(0);
  };
}

function createTooLongError(): AnyserveError {
  return new AnyserveError('internal', `an event of its response has more than ${MAX_EVENT_CHARACTERS} characters`);
}
