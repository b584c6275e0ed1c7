import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** The error of a stream that sends more bytes between two events than the maximum size of an event. */
export class EventTooLongError extends Error {
  override readonly name = 'EventTooLongError';
}

/** Yields the data of each server-sent event as it arrives. See {@link readServerSentEvents}. */
export async function* readEventData(body: AsyncIterable<Uint8Array>, maxEventBytes: number): AsyncGenerator<string> {
  for await (const { data } of readServerSentEvents(body, maxEventBytes)) yield data;
}

/**
 * Yields each server-sent event as it arrives, with its type and its id, if it has them. All bytes since the last event
 * count towards `maxEventBytes`: an unfinished line, data without the blank line that ends an event, and comments. So memory
 * stays bounded, and a stream of comments only ends too. Leaving the loop early doesn't close the body. Throws
 * {@link EventTooLongError}.
 */
export async function* readServerSentEvents(
  body: AsyncIterable<Uint8Array>,
  maxEventBytes: number,
): AsyncGenerator<EventSourceMessage> {
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => void events.push(event) });
  const decoder = new TextDecoder();
  const normalizeLineEndings = createLineEndingNormalizer();
  let bytesSinceEvent = 0;
  for await (const chunk of body) {
    bytesSinceEvent += chunk.length;
    parser.feed(normalizeLineEndings(decoder.decode(chunk, { stream: true })));
    // The start of the next event in the same chunk isn't counted. It is at most one chunk.
    if (events.length > 0) bytesSinceEvent = 0;
    if (bytesSinceEvent > maxEventBytes)
      throw new EventTooLongError(`received ${maxEventBytes} bytes without an event`);
    yield* events.splice(0);
  }
}

/**
 * Creates a function that converts the line endings of a string, fed to it in chunks, to line feeds. Lines of an event
 * stream can end with CR LF, LF or CR. The event stream parser searches the rest of the chunk for each kind at every line,
 * which takes a quarter of a second for a chunk of 64 KiB of CRs.
 */
export function createLineEndingNormalizer(): (chunk: string) => string {
  let endedWithCr = false;
  return (chunk) => {
    if (chunk === '') return chunk;
    const text = endedWithCr && chunk.startsWith('\n') ? chunk.slice(1) : chunk;
    endedWithCr = chunk.endsWith('\r');
    return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
  };
}
