import library from '@grpc/grpc-js/build/src/stream-decoder.js';

/** Maximum size of a received chunk that is joined with earlier ones, in bytes. Most servers send DATA frames of 16 KiB. */
const MAX_JOINED_BYTES = 8 * 1024;

/** Maximum size of a joined buffer, in bytes. Larger buffers come from mmap, and each costs page faults. */
const MAX_RESULT_BYTES = 64 * 1024;

/** The members used of the library's decoder. They are internal to the library and can change. */
interface LibraryDecoder {
  readPartialMessage: Buffer[];
  write(data: Buffer): Buffer[];
}

/**
 * Makes the gRPC library join the small pieces of a message while it is received. The library keeps an object of 130 bytes
 * for each DATA frame until the message is complete. A replica that sends 60 MB in frames of one byte would use 8 GB of its
 * caller's memory.
 */
export function joinSmallFrames(): void {
  const prototype = library.StreamDecoder?.prototype as unknown as Partial<LibraryDecoder> | undefined;
  const write = prototype?.write;
  if (!prototype || !write || isInstalled) return;
  isInstalled = true;
  prototype.write = function (this: LibraryDecoder, data: Buffer): Buffer[] {
    const messages = write.call(this, data);
    if (data.length <= MAX_JOINED_BYTES && this.readPartialMessage?.length > 1) joinLast(this.readPartialMessage);
    return messages;
  };
}

let isInstalled = false;

/** Joins the last two pieces while they have similar sizes, so that each byte is copied only a few times. */
function joinLast(pieces: Buffer[]): void {
  while (pieces.length > 1) {
    const [before, last] = pieces.slice(-2) as [Buffer, Buffer];
    if (before.length > 2 * last.length || before.length + last.length > MAX_RESULT_BYTES) return;
    pieces.splice(-2, 2, Buffer.concat([before, last]));
  }
}
