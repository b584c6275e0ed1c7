import { createParser } from 'eventsource-parser';
import { createLineEndingNormalizer } from '../http/line-endings.js';

/** A stream that sends more bytes between two events than any event may have. */
export class EventTooLongError extends Error {
  override readonly name = 'EventTooLongError';
}

/**
 * The data of each server-sent event, as the events arrive. The bytes since the last event count whatever they are: a line
 * without an end, data without the blank line that ends an event, comments. So memory stays bounded, and a stream of
 * comments ends too. Leaving the loop early does not close the body. Throws {@link EventTooLongError}.
 */
export async function* readEventData(body: AsyncIterable<Uint8Array>, maxEventBytes: number): AsyncGenerator<string> {
  const arrived: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => void arrived.push(data) });
  const decoder = new TextDecoder();
  const lineFeeds = createLineEndingNormalizer();
  let bytesSinceEvent = 0;
  for await (const chunk of body) {
    bytesSinceEvent += chunk.length;
    parser.feed(lineFeeds(decoder.decode(chunk, { stream: true })));
    // A chunk with an event in it may hold the beginning of the next, which then counts for nothing: it is one chunk.
    if (arrived.length > 0) bytesSinceEvent = 0;
    if (bytesSinceEvent > maxEventBytes) throw new EventTooLongError(`${maxEventBytes} bytes came without an event`);
    yield* arrived.splice(0);
  }
}
