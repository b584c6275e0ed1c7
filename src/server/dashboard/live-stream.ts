import { createParser, type EventSourceMessage } from 'eventsource-parser';
import type { Clock, Random } from '../../core/ports.js';
import { RefusedError, type ServerApi } from './server-api.js';

/** State of a stream. */
export type StreamState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  /** The stream tries again. */
  | { readonly kind: 'lost'; readonly reason: string }
  /** The server refuses the token, or asks for one. The stream has ended. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Options of a {@link LiveStream}. */
export interface LiveStreamOptions {
  readonly api: Pick<ServerApi, 'send'>;
  /** URL, relative to the page. */
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Id of the last event that is already known. Default: none. */
  readonly lastEventId?: string | undefined;
  readonly onEvent: (event: EventSourceMessage) => void;
  readonly onState: (state: StreamState) => void;
}

/** Time without a byte after which a stream counts as lost, in ms: three heartbeats. */
const SILENCE_MS = 15_000;

/** The first delay before a new connection, and the longest, in ms. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 8000;

/** Maximum time for which events are handled before the page gets a turn, in ms. A frame has 16 ms. */
const SLICE_MS = 8;

/** Length of the parts that a chunk is parsed in, in UTF-16 units. */
const PART_UNITS = 16 * 1024;

/**
 * A stream of server-sent events that continues after a lost connection. It uses `fetch`, because the browser's own class for
 * such streams, `EventSource`, can't send a token.
 */
export class LiveStream {
  readonly #options: LiveStreamOptions;
  readonly #ended = new AbortController();
  #lastEventId: string | undefined;
  #failures = 0;

  constructor(options: LiveStreamOptions) {
    this.#options = options;
    this.#lastEventId = options.lastEventId;
  }

  /** Id of the last event. Undefined before the first one. */
  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  /** Connects, again and again, until the stream is closed or refused. */
  async run(): Promise<void> {
    const { clock, random, onState } = this.#options;
    onState({ kind: 'connecting' });
    while (!this.#ended.signal.aborted) {
      const error = await this.#readConnection().catch((thrown: unknown) => thrown);
      if (this.#ended.signal.aborted) return;
      const reason = error instanceof Error ? error.message : 'the server ended the stream';
      if (error instanceof RefusedError && error.needsToken) return onState({ kind: 'refused', reason });
      onState({ kind: 'lost', reason });
      const ceilingMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
      await this.#wait(clock, ((1 + random.fraction()) / 2) * ceilingMs);
    }
  }

  close(): void {
    this.#ended.abort();
  }

  /** Reads one connection until it ends. */
  async #readConnection(): Promise<void> {
    const { api, path, clock, onState } = this.#options;
    const connection = new AbortController();
    const abort = (reason?: Error): void => connection.abort(reason);
    const onEnded = (): void => abort();
    this.#ended.signal.addEventListener('abort', onEnded, { once: true });
    const silence = new Error(`the server sent nothing for ${SILENCE_MS / 1000} s`);
    let cancelWatchdog = clock.schedule(SILENCE_MS, () => abort(silence));
    try {
      const headers: Record<string, string> =
        this.#lastEventId === undefined ? {} : { 'last-event-id': this.#lastEventId };
      const response = await api.send(path, { headers, signal: connection.signal });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const feed = this.#createFeed();
      onState({ kind: 'live' });
      this.#failures = 0;
      for (;;) {
        cancelWatchdog();
        cancelWatchdog = clock.schedule(SILENCE_MS, () => abort(silence));
        const { done, value } = await reader.read();
        if (done) return;
        // Time in which the page is busy doesn't count as silence.
        cancelWatchdog();
        await feed(value);
      }
    } finally {
      cancelWatchdog();
      this.#ended.signal.removeEventListener('abort', onEnded);
      abort();
    }
  }

  /** Creates a function that parses the next bytes, in turns that leave the page time to draw. */
  #createFeed(): (bytes: Uint8Array) => Promise<void> {
    const { clock, onEvent } = this.#options;
    const decoder = new TextDecoder();
    const parser = createParser({
      onEvent: (event) => {
        onEvent(event);
        if (event.id !== undefined) this.#lastEventId = event.id;
      },
    });
    let sliceEndsAtMs = 0;
    return async (bytes) => {
      const text = decoder.decode(bytes, { stream: true });
      for (let at = 0; at < text.length; at += PART_UNITS) {
        if (clock.nowMs() >= sliceEndsAtMs) {
          if (at > 0) await this.#wait(clock, 0);
          sliceEndsAtMs = clock.nowMs() + SLICE_MS;
        }
        parser.feed(text.slice(at, at + PART_UNITS));
      }
    };
  }

  #wait(clock: Clock, delayMs: number): Promise<void> {
    const { signal } = this.#ended;
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const cancel = clock.schedule(delayMs, wake);
      signal.addEventListener('abort', wake);
    });
  }
}
