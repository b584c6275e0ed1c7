import library from '@grpc/grpc-js/build/src/stream-decoder.js';

/** Maximum size of a piece that is joined with others, in bytes. A DATA frame of a usual server has 16 KiB. */
const MAX_JOINED_BYTES = 8 * 1024;

/** What is touched of the library's decoder, which it does not promise. */
interface LibraryDecoder {
  readPartialMessage: Buffer[];
  write(data: Buffer): Buffer[];
}

/**
 * Makes the gRPC library join the small pieces of a message that is being received. It keeps one object of 130 bytes for each DATA
 * frame until the message is complete, so a replica that sends 60 MB in frames of one byte would take 8 GB of its caller.
 */
export function joinSmallFrames(): void {
  const prototype = library.StreamDecoder?.prototype as unknown as Partial<LibraryDecoder> | undefined;
  const write = prototype?.write;
  if (!prototype || !write || hasJoined) return;
  hasJoined = true;
  prototype.write = function (this: LibraryDecoder, data: Buffer): Buffer[] {
    const messages = write.call(this, data);
    if (data.length <= MAX_JOINED_BYTES && this.readPartialMessage?.length > 1) joinLast(this.readPartialMessage);
    return messages;
  };
}

let hasJoined = false;

/** Joins the last pieces while the one before is not much longer. So there are few pieces, and a byte is copied few times. */
function joinLast(pieces: Buffer[]): void {
  while (pieces.length > 1) {
    const [before, last] = pieces.slice(-2) as [Buffer, Buffer];
    if (before.length > 2 * last.length) return;
    pieces.splice(-2, 2, Buffer.concat([before, last]));
  }
}
