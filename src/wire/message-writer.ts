import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** From here on bytes are kept where they are until the whole message is put together, instead of being moved about. */
export const LARGE_BYTES = 1024;

/** A writer of a message longer than this is not used again: it would keep its memory. */
const MAX_SPARED_BYTES = 64 * 1024;

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

let spare: MessageWriter | undefined;

/**
 * The message that a function writes. The writer of the last one is used again: its memory costs more than all else that is
 * done for a short message. One whose function throws is not.
 */
export function writtenMessage(write: (writer: MessageWriter) => void): Buffer {
  const writer = spare ?? new MessageWriter();
  spare = undefined;
  write(writer);
  const message = writer.finish();
  if (message.length <= MAX_SPARED_BYTES) spare = writer;
  return message;
}

/** How many bytes a field of bytes takes whose number is at most 15. */
export function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(number: number): number {
  return Math.max(1, Math.ceil((32 - Math.clz32(number)) / 7));
}
