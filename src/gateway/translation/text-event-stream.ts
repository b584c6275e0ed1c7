import type { ServerResponse } from 'node:http';
import type { InferenceStream } from '../../client/inference-caller.js';
import { breakOff, createErrorEvent, endResponse, type RelayEnd, type RelayOptions } from '../response-relay.js';
import { BodyTail } from '../token-usage.js';
import type { ResponseHead, TextFormat } from './text-format.js';
import { TextMessageReader, type TextPiece } from './text-message-reader.js';

/** Format of a stream. */
export interface TextStreamOptions {
  readonly format: TextFormat;
  readonly head: ResponseHead;
  readonly includeUsage: boolean;
}

/** Sends the messages of a text response as server-sent events in OpenAI's form, each as soon as it arrives. */
export class TextEventStream {
  readonly #stream: InferenceStream;
  readonly #options: TextStreamOptions;
  readonly #reader = new TextMessageReader();
  readonly #first: TextPiece | undefined;
  #toolCallCount = 0;
  #bytes = 0;
  readonly #tail = new BodyTail();

  /** Throws `internal` for a first message without a text, while the response can still be an error. */
  constructor(stream: InferenceStream, options: TextStreamOptions) {
    this.#stream = stream;
    this.#options = options;
    if (stream.first.done) this.#reader.end();
    else this.#first = this.#reader.read(stream.first.value);
  }

  /** Sends the events. A stream that breaks off ends with an event with the error, and the connection closes. */
  async send(
    response: ServerResponse,
    { addedHeaders, readTimeoutMs }: RelayOptions,
    onEnd: (end: RelayEnd) => void,
  ): Promise<void> {
    let error: unknown;
    response.writeHead(200, [
      'content-type',
      'text/event-stream; charset=utf-8',
      'cache-control',
      'no-cache',
      ...addedHeaders,
    ]);
    try {
      await this.#sendAll(response, readTimeoutMs);
    } catch (thrown) {
      error = thrown;
      if (!response.destroyed) this.#write(response, createErrorEvent(thrown));
      breakOff(response, readTimeoutMs);
    }
    onEnd({ error, bytes: this.#bytes, tail: this.#tail.pieces });
  }

  async #sendAll(response: ServerResponse, readTimeoutMs: number): Promise<void> {
    const { format, head, includeUsage } = this.#options;
    const { messages } = this.#stream;
    try {
      const opening = this.#serialize(format.createOpeningEvents(head));
      const isRead = this.#write(response, opening + this.#format(this.#first as TextPiece));
      if (!isRead) await waitForCaller(response, readTimeoutMs);
      for (let next = await messages.next(); !next.done; next = await messages.next()) {
        const events = this.#format(this.#reader.read(next.value));
        if (events !== '' && !this.#write(response, events)) await waitForCaller(response, readTimeoutMs);
      }
      const { finishReason, usage } = this.#reader.end();
      const final: object[] = [format.createFinalEvent(head, finishReason)];
      const usageEvent = includeUsage && usage ? [format.createUsageEvent(head, usage)] : [];
      const text = this.#serialize(final) + usageEvent.map(toEvent).join('');
      this.#write(response, `${text}data: [DONE]\n\n`);
      endResponse(response, readTimeoutMs);
    } finally {
      // If the caller has gone, the generation stops too.
      await messages.return(undefined);
    }
  }

  #format(piece: TextPiece): string {
    const { format, head } = this.#options;
    const events = format.createEvents(head, piece, this.#toolCallCount);
    this.#toolCallCount += piece.toolCalls.length;
    return this.#serialize(events);
  }

  /** Serializes events. If the last event has the token counts, OpenAI's API has `usage: null` in all others. */
  #serialize(events: readonly object[]): string {
    const { includeUsage } = this.#options;
    return events.map((event) => toEvent(includeUsage ? { ...event, usage: null } : event)).join('');
  }

  #write(response: ServerResponse, text: string): boolean {
    const bytes = Buffer.from(text);
    this.#bytes += bytes.length;
    this.#tail.add(bytes);
    return response.write(bytes);
  }
}

function toEvent(event: object): string {
  return `data: ${JSON.stringify(event)}\n\n`;
}

/** Waits until the caller has read what was sent, or has gone. A caller that reads nothing is disconnected. */
async function waitForCaller(response: ServerResponse, readTimeoutMs: number): Promise<void> {
  const { socket } = response;
  socket?.setTimeout(readTimeoutMs);
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      response.off('drain', settle);
      response.off('close', settle);
      resolve();
    };
    response.on('drain', settle);
    response.on('close', settle);
    if (response.destroyed) settle();
  });
  socket?.setTimeout(0);
}
