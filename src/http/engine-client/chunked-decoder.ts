import { BadResponseError, HeadReader } from './response-head.js';

/** Maximum number of hexadecimal digits of a chunk size. Longer numbers are not exact. */
const MAX_SIZE_DIGITS = 13;

/** Maximum number of bytes of the extensions of a chunk, which are ignored. */
const MAX_EXTENSION_BYTES = 4096;

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;

type State = 'size' | 'extension' | 'size_lf' | 'data' | 'data_cr' | 'data_lf' | 'trailers';

/**
 * Decodes a chunked body (RFC 9112, section 7.1). The data of all chunks in a packet becomes one piece: it is moved together within
 * the packet's buffer. So 10,000 chunks of one byte cost the caller as much as one. Throws {@link BadResponseError}.
 */
export class ChunkedDecoder {
  isComplete = false;
  /** Position after the last byte read by {@link decode}. */
  end = 0;
  readonly #trailers = new HeadReader(true);
  #state: State = 'size';
  /** Size of the chunk, then the number of its bytes to come. */
  #size = 0;
  #digits = 0;
  #extensionBytes = 0;

  /** Decodes bytes from a position on, and changes the buffer. Returns their data; undefined if they have none. */
  decode(chunk: Buffer, start: number): Buffer | undefined {
    let at = start;
    let dataStart = -1;
    let dataEnd = -1;
    while (at < chunk.length && !this.isComplete) {
      if (this.#state === 'data') {
        const length = Math.min(this.#size, chunk.length - at);
        if (dataStart < 0) dataStart = dataEnd = at;
        else chunk.copyWithin(dataEnd, at, at + length);
        dataEnd += length;
        at += length;
        this.#size -= length;
        if (this.#size === 0) this.#state = 'data_cr';
      } else if (this.#state === 'trailers') {
        at = this.#trailers.read(chunk, at);
        this.isComplete = this.#trailers.isComplete;
      } else {
        this.#readByte(chunk[at++] as number);
      }
    }
    this.end = at;
    return dataStart < 0 ? undefined : chunk.subarray(dataStart, dataEnd);
  }

  #readByte(byte: number): void {
    switch (this.#state) {
      case 'size':
        return void this.#readSizeByte(byte);
      case 'extension':
        return void this.#readExtensionByte(byte);
      case 'size_lf':
        if (byte !== LF) throw new BadResponseError('a chunk size has a carriage return alone');
        this.#state = this.#size === 0 ? 'trailers' : 'data';
        this.#digits = 0;
        this.#extensionBytes = 0;
        return;
      case 'data_cr':
        if (byte !== CR) throw new BadResponseError('a chunk is longer than its size');
        this.#state = 'data_lf';
        return;
      default:
        if (byte !== LF) throw new BadResponseError('a chunk is longer than its size');
        this.#state = 'size';
    }
  }

  #readSizeByte(byte: number): void {
    const digit = toHexDigit(byte);
    if (digit >= 0 && ++this.#digits <= MAX_SIZE_DIGITS) this.#size = this.#size * 16 + digit;
    else if (this.#digits === 0 || digit >= 0) throw new BadResponseError('a chunk size is not valid');
    else if (byte === CR) this.#state = 'size_lf';
    else if (byte === SEMICOLON) this.#state = 'extension';
    else throw new BadResponseError('a chunk size is not valid');
  }

  #readExtensionByte(byte: number): void {
    if (byte === LF) throw new BadResponseError('a chunk extension ends with a line feed alone');
    if (++this.#extensionBytes > MAX_EXTENSION_BYTES) throw new BadResponseError('a chunk extension is too long');
    if (byte === CR) this.#state = 'size_lf';
  }
}

function toHexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
