import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** From here on bytes are kept where they are until the whole message is put together, instead of being moved about. */
const LARGE_BYTES = 1024;

/**
 * Writes a message whose large parts are copied once: what is small goes through `small`, the protobuf runtime's writer,
 * and what is large stands between. The runtime's alone would move a mebibyte six times: when its buffer grows, for
 * each length that goes before, and at the end.
 */
export class MessageWriter {
  readonly small = new BinaryWriter();
  #pieces: Uint8Array[] | undefined;

  /** A field of bytes. */
  bytes(tag: number, bytes: Uint8Array): void {
    this.small.uint32(tag).uint32(bytes.length);
    if (bytes.length < LARGE_BYTES) this.small.raw(bytes);
    else {
      this.#pieces ??= [];
      this.#pieces.push(this.small.finish(), bytes);
    }
  }

  /** The message. The writer is as new then. */
  finish(): Buffer {
    const last = this.small.finish();
    if (!this.#pieces) return Buffer.from(last.buffer, last.byteOffset, last.length);
    this.#pieces.push(last);
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = undefined;
    return whole;
  }
}

/** How many bytes a field of bytes takes whose number is at most 15. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(number: number): number {
  return Math.max(1, Math.ceil((32 - Math.clz32(number)) / 7));
}
