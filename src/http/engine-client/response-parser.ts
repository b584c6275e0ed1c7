import { ChunkedDecoder } from './chunked-decoder.js';
import { BadResponseError, type EngineResponseHead, HeadReader } from './response-head.js';

/**
 * Parses one response as its bytes arrive. After each {@link push}, the fields say what these bytes contained: at most a head, one
 * piece of the body, and the end. A push with a problem yields neither head nor body.
 */
export class ResponseParser {
  /** The head, after the push that completed it. */
  head: EngineResponseHead | undefined;
  /** A piece of the body, after the push that contained it. */
  body: Buffer | undefined;
  isComplete = false;
  /** Why the response is not valid. */
  problem: string | undefined;
  /** Whether any byte has arrived. */
  hasStarted = false;
  readonly #method: string;
  readonly #head = new HeadReader();
  #chunks: ChunkedDecoder | undefined;
  /** Number of bytes of the body to come. Infinity if the body ends with the connection. */
  #bytesLeft = 0;

  /** The response to a HEAD request has no body. */
  constructor(method: string) {
    this.#method = method;
  }

  /** Whether the connection can be used again. Valid when the response is complete. */
  get keepsAlive(): boolean {
    return this.#head.keepsAlive && this.#bytesLeft === 0;
  }

  /** Time that the server keeps an idle connection, in ms. Infinity if unknown. */
  get keepAliveMs(): number {
    return this.#head.keepAliveMs;
  }

  /** Parses the next bytes. Can change them, and keeps a part of them as the body. */
  push(chunk: Buffer): void {
    this.head = undefined;
    this.body = undefined;
    this.hasStarted = true;
    try {
      const at = this.#head.isComplete ? 0 : this.#readHead(chunk);
      if (this.#head.isComplete) this.#readBody(chunk, at);
    } catch (error) {
      if (!(error instanceof BadResponseError)) throw error;
      this.problem = error.message;
      this.head = undefined;
      this.body = undefined;
    }
  }

  /** Handles the end of the connection. It completes only a body without a length. */
  end(): void {
    if (this.#bytesLeft === Number.POSITIVE_INFINITY) this.isComplete = true;
  }

  #readHead(chunk: Buffer): number {
    const head = this.#head;
    const at = head.read(chunk, 0);
    if (!head.isComplete) return at;
    this.head = { status: head.status, reason: head.reason, headers: head.headers };
    if (this.#method === 'HEAD' || head.status === 204 || head.status === 304) return at;
    if (head.isChunked) this.#chunks = new ChunkedDecoder();
    else this.#bytesLeft = head.contentLength ?? Number.POSITIVE_INFINITY;
    return at;
  }

  #readBody(chunk: Buffer, start: number): void {
    let end: number;
    if (this.#chunks) {
      this.body = this.#chunks.decode(chunk, start);
      end = this.#chunks.end;
      this.isComplete = this.#chunks.isComplete;
    } else {
      end = Math.min(chunk.length, start + this.#bytesLeft);
      if (end > start) this.body = end - start === chunk.length ? chunk : chunk.subarray(start, end);
      this.#bytesLeft -= end - start;
      this.isComplete = this.#bytesLeft === 0;
    }
    if (end < chunk.length) throw new BadResponseError('more bytes follow it');
  }
}
