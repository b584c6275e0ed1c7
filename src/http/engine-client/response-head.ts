import { isFieldValue, skipToken } from './field-text.js';

/** Status line and headers of a response. */
export interface EngineResponseHead {
  readonly status: number;
  /** The reason phrase of the status line. */
  readonly reason: string;
  /** Names and values in turn, in the order of arrival and as they were written. Bytes are Latin-1 characters. */
  readonly headers: readonly string[];
}

/** Reason why a response is not valid. The connection that it arrived on can't be used any more. */
export class BadResponseError extends Error {
  override readonly name = 'BadResponseError';
}

/** Maximum size of a head, together with the interim responses before it, in bytes. Also of the trailers. */
const MAX_HEAD_BYTES = 64 * 1024;

/** Maximum number of bytes decoded in one step, so that a large body in the same packet is not decoded as a head. */
const WINDOW_BYTES = 2048;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: (.*))?$/;
const STATUS_LINE_START = 'HTTP/1.';

/** The status line of almost every response. It is recognized at once, because the pattern costs more than a header. */
const OK_LINE = 'HTTP/1.1 200 OK';

/** Maximum number of digits of a content length. Longer numbers are not exact. */
const CONTENT_LENGTH = /^\d{1,15}$/;

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/**
 * Reads the head of a response, or the trailers of a chunked body, line by line as bytes arrive. So a bad line is found before the
 * end of the head. Each byte is examined once. Throws {@link BadResponseError}.
 */
export class HeadReader {
  status = 0;
  reason = '';
  headers: string[] = [];
  isComplete = false;
  /** Undefined if there is no `content-length`. */
  contentLength: number | undefined;
  isChunked = false;
  /** Whether the server keeps the connection open after the response. */
  keepsAlive = true;
  /** Time that the server keeps an idle connection, in ms, if it says so. */
  keepAliveMs = Number.POSITIVE_INFINITY;
  readonly #isTrailer: boolean;
  #isHttp10 = false;
  /** The beginning of a line. It is a tree of strings until the line ends, so adding a byte costs the same at any length. */
  #partialLine = '';
  #bytesOfLines = 0;

  constructor(isTrailer = false) {
    this.#isTrailer = isTrailer;
  }

  /** Reads lines from a position on. Returns the position after the last byte read. */
  read(chunk: Buffer, start: number): number {
    let at = start;
    while (at < chunk.length) {
      const text = chunk.toString('latin1', at, Math.min(chunk.length, at + WINDOW_BYTES));
      const end = this.#readLines(text);
      at += end;
      if (this.isComplete) break;
    }
    return at;
  }

  /** Reads the lines of a text. Returns the position after the empty line that ends the head, or the end of the text. */
  #readLines(text: string): number {
    let lineStart = 0;
    for (let lineFeed = text.indexOf('\n'); lineFeed >= 0; lineFeed = text.indexOf('\n', lineStart)) {
      const line = this.#partialLine + text.slice(lineStart, lineFeed);
      this.#partialLine = '';
      lineStart = lineFeed + 1;
      this.#bytesOfLines += line.length + 1;
      this.#checkSize();
      if (this.#expectsStatus) checkStatusLineStart(line);
      if (!line.endsWith('\r')) throw new BadResponseError('a line of its head ends with a line feed alone');
      this.#readLine(line.slice(0, -1));
      if (this.isComplete) return lineStart;
    }
    const isStart = this.#partialLine.length < STATUS_LINE_START.length;
    this.#partialLine += text.slice(lineStart);
    this.#checkSize();
    if (isStart && this.#expectsStatus) checkStatusLineStart(this.#partialLine);
    return text.length;
  }

  get #expectsStatus(): boolean {
    return this.status === 0 && !this.#isTrailer;
  }

  #checkSize(): void {
    if (this.#bytesOfLines + this.#partialLine.length > MAX_HEAD_BYTES)
      throw new BadResponseError(`its head has more than ${MAX_HEAD_BYTES} bytes`);
  }

  #readLine(line: string): void {
    if (this.#expectsStatus) this.#readStatusLine(line);
    else if (line !== '') this.#readHeader(line);
    else if (this.#isTrailer || this.status >= 200) this.#finish();
    else this.#skipInterimResponse();
  }

  #readStatusLine(line: string): void {
    if (line === OK_LINE) {
      this.status = 200;
      this.reason = 'OK';
      return;
    }
    const [, minor, digits, reason = ''] = STATUS_LINE.exec(line) ?? [];
    if (digits === undefined || !isFieldValue(reason)) throw new BadResponseError('its status line is not valid');
    // The request does not ask for another protocol.
    if (digits === '101') throw new BadResponseError('it switches to another protocol');
    this.status = Number(digits);
    this.reason = reason;
    this.#isHttp10 = minor === '0';
    if (this.#isHttp10) this.keepsAlive = false;
  }

  /** Skips the end of a `100 Continue`, or of another response before the final one. */
  #skipInterimResponse(): void {
    if (this.contentLength !== undefined || this.isChunked)
      throw new BadResponseError('an interim response has a body');
    this.status = 0;
    this.headers = [];
  }

  #readHeader(line: string): void {
    const colon = skipToken(line);
    if (colon === 0 || line.charCodeAt(colon) !== COLON) throw new BadResponseError('a header line is not valid');
    let start = colon + 1;
    let end = line.length;
    while (start < end && isBlank(line.charCodeAt(start))) start++;
    while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
    if (!isFieldValue(line, start, end)) throw new BadResponseError('a header value has a control character');
    if (this.#isTrailer) return;
    const name = line.slice(0, colon);
    const value = line.slice(start, end);
    this.headers.push(name, value);
    this.#interpret(name, value);
  }

  /** Interprets the headers about the connection. Their lengths differ from those of most other headers. */
  #interpret(name: string, value: string): void {
    if (name.length !== 10 && name.length !== 14 && name.length !== 17) return;
    switch (name.toLowerCase()) {
      case 'content-length':
        if (this.contentLength !== undefined) throw new BadResponseError('it has more than one content-length');
        if (!CONTENT_LENGTH.test(value)) throw new BadResponseError('its content-length is not a number');
        this.contentLength = Number(value);
        break;
      case 'transfer-encoding':
        if (this.isChunked || value.toLowerCase() !== 'chunked')
          throw new BadResponseError('its transfer-encoding is not chunked');
        this.isChunked = true;
        break;
      case 'connection':
        if (/(?:^|[\s,])close(?:$|[\s,])/i.test(value)) this.keepsAlive = false;
        break;
      case 'keep-alive':
        this.keepAliveMs = 1000 * Number(/(?:^|[\s,])timeout=(\d{1,9})/i.exec(value)?.[1] ?? Number.POSITIVE_INFINITY);
        break;
    }
  }

  #finish(): void {
    if (this.isChunked && this.contentLength !== undefined)
      throw new BadResponseError('it has both content-length and transfer-encoding');
    if (this.isChunked && this.#isHttp10) throw new BadResponseError('it is chunked, which HTTP/1.0 does not have');
    this.isComplete = true;
  }
}

/** Fails early for a server of another protocol, which can wait for more bytes before it closes the connection. */
function checkStatusLineStart(text: string): void {
  if (!STATUS_LINE_START.startsWith(text.slice(0, STATUS_LINE_START.length)))
    throw new BadResponseError('it is not an HTTP/1 response');
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}
