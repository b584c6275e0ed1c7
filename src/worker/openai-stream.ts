import type { Readable } from 'node:stream';
import { createParser } from 'eventsource-parser';
import { ByteCollector } from '../core/byte-collector.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { createLineEndingNormalizer } from '../http/line-endings.js';

/** Maximum characters of one event: a server that doesn't stream can send a whole answer as one. */
const MAX_EVENT_CHARACTERS = 16 * 1024 * 1024;

/** Names of events that servers and proxies send while there is nothing to say. */
const KEEPS_OPEN = /^(?:ping|heart-?beat|keep-?alive)$/i;

/** How long an engine can be silent, in ms. A flowing answer has no limit in all but its caller's deadline. */
export interface ChunkTimeouts {
  readonly clock: Clock;
  /** Before the first byte of the body. */
  readonly firstByteMs: number;
  /** Between two bytes; comments of an event stream count. */
  readonly idleMs: number;
  /** Called for each chunk that arrives. */
  onBytes(): void;
}

/** An engine that was silent for too long. */
export class EngineTimeoutError extends Error {
  override readonly name = 'SilenceError';
  readonly isFirstByte: boolean;

  constructor(isFirstByte: boolean) {
    super('silent for too long');
    this.isFirstByte = isFirstByte;
  }
}

/**
 * Yields the chunks of a body as they arrive, and does not close it. Only the time in which we wait for the engine counts as
 * silence: a caller that reads slowly doesn't. Throws {@link EngineTimeoutError}, and then the body is destroyed.
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

/** One document of an answer in parts: an event of a stream, or the whole body of a server that doesn't stream. */
export interface StreamedDocument {
  readonly data: string;
  /** Whether the server calls the event an error. */
  readonly isError: boolean;
  /** Whether it is the whole body. */
  readonly isWhole: boolean;
}

/**
 * Yields the events of a stream, or the body as one document. The beginning of the body tells which it is, because some
 * servers and proxies lose the content type, or give it to a JSON document. Throws for an event or document that is too
 * long.
 */
export async function* readStreamedDocuments(
  chunks: AsyncIterable<Buffer>,
  contentType: string | undefined,
): AsyncGenerator<StreamedDocument> {
  const isDeclared = /^text\/event-stream\b/i.test(contentType ?? '');
  const decoder = new TextDecoder();
  let whole: ByteCollector | undefined = new ByteCollector();
  let start = '';
  let feed: ReturnType<typeof eventReader> | undefined;
  for await (const chunk of chunks) {
    whole?.add(chunk);
    if (whole && whole.length > MAX_EVENT_CHARACTERS) throw tooLong();
    if (start === '' || feed) {
      let text = decoder.decode(chunk, { stream: true });
      if (!feed) {
        start = text = text.trimStart();
        if (start === '' || !isEventStream(start, isDeclared)) continue;
        feed = eventReader();
        whole = undefined;
      }
      yield* feed(text);
    }
  }
  // Some servers end the last event without the blank line that ends events.
  if (feed) yield* feed('\n');
  else yield { data: new TextDecoder().decode(whole?.bytes), isError: false, isWhole: true };
}

/** Whether a body that begins so is a stream of events, and not one JSON document. */
function isEventStream(start: string, isDeclared: boolean): boolean {
  return isDeclared ? !/^[[{]/.test(start) : /^[deir:]/.test(start);
}

/** Returns a function that takes the next text of a stream and returns the events that it completes. */
function eventReader(): (text: string) => StreamedDocument[] {
  const arrived: StreamedDocument[] = [];
  const parser = createParser({
    onEvent({ data, event }) {
      const isError = event === 'error';
      // An event without data, or of such a name, only keeps the stream open.
      if (isError || (data.trim() !== '' && !KEEPS_OPEN.test(event ?? '')))
        arrived.push({ data, isError, isWhole: false });
    },
    onError({ type, field, value = '', line = '' }) {
      if (type !== 'unknown-field') return;
      // Older llama.cpp servers have a field "error"; some servers and proxies write an error without any field.
      if (field === 'error') arrived.push({ data: value, isError: true, isWhole: false });
      else if (line.startsWith('{')) arrived.push({ data: line, isError: false, isWhole: false });
    },
  });
  const lineFeeds = createLineEndingNormalizer();
  let lengthSinceEvent = 0;
  return (text) => {
    parser.feed(lineFeeds(text));
    // Whatever it is: the parser takes 64 bytes for each line of data, also for an empty one.
    lengthSinceEvent = arrived.length > 0 ? 0 : lengthSinceEvent + text.length;
    if (lengthSinceEvent > MAX_EVENT_CHARACTERS) throw tooLong();
    return arrived.splice(0);
  };
}

function tooLong(): AnyserveError {
  return new AnyserveError('internal', `a part of its answer has over ${MAX_EVENT_CHARACTERS} characters`);
}
