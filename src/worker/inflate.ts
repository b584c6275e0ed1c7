import { promisify } from 'node:util';
import { gunzip, gunzipSync, inflate, inflateSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import type { MemoryBudget, Reservation } from './memory-budget.js';

/** Supported compression encodings of gRPC messages. */
const ENCODINGS = {
  gzip: { inflate: promisify(gunzip), inflateSync: gunzipSync },
  deflate: { inflate: promisify(inflate), inflateSync },
} as const;

/** A supported compression encoding of gRPC messages. `identity` is not one. */
export type CompressionEncoding = keyof typeof ENCODINGS;

/** Returns whether a compression encoding is supported. */
export function isCompressionEncoding(name: string): name is CompressionEncoding {
  return Object.hasOwn(ENCODINGS, name);
}

/** Thrown when a message inflates to more than the limit. Inflation stops there. */
export class InflateLimitError extends Error {}

/**
 * Maximum size, compressed and inflated, of messages that are inflated synchronously. For these, handing them to a thread
 * would take longer than inflating them.
 */
const MAX_SYNC_BYTES = 16 * 1024;

/**
 * Inflates a small message synchronously. Throws {@link InflateLimitError} if it inflates to more than `maxBytes`, and
 * zlib's error if the bytes don't have this encoding.
 */
export function inflateSmallMessage(bytes: Buffer, encoding: CompressionEncoding, maxBytes: number): Buffer {
  try {
    // One byte more than the limit, so that a message that just fits needs only one buffer.
    return ENCODINGS[encoding].inflateSync(bytes, { maxOutputLength: maxBytes, chunkSize: Math.max(64, maxBytes + 1) });
  } catch (error) {
    throw isLimitError(error) ? new InflateLimitError() : error;
  }
}

/**
 * Inflates a message of any size. Reserves the maximum memory that it can take before inflating, and returns a reservation
 * of the memory that it does take. A message of at most 16 KiB, compressed and inflated, is inflated before its memory is
 * reserved. Throws as {@link inflateSmallMessage} does, and `resource_exhausted` immediately if there
 * is not enough memory.
 */
export async function inflateWithinBudget(
  bytes: Buffer,
  encoding: CompressionEncoding,
  maxBytes: number,
  budget: MemoryBudget,
): Promise<{ readonly inflated: Buffer; readonly reservation: Reservation }> {
  if (bytes.length <= MAX_SYNC_BYTES) {
    try {
      const inflated = inflateSmallMessage(bytes, encoding, Math.min(MAX_SYNC_BYTES, maxBytes));
      return { inflated, reservation: budget.reserve(inflated.length) };
    } catch (error) {
      if (!(error instanceof InflateLimitError) || maxBytes <= MAX_SYNC_BYTES) throw error;
    }
  }
  const declaredBytes = getDeclaredSize(bytes, encoding);
  if (declaredBytes !== undefined && declaredBytes > maxBytes) throw new InflateLimitError();
  if (declaredBytes !== undefined) {
    try {
      // With the declared size as its chunk size, zlib allocates a single buffer, which becomes the message.
      return await inflateWithReservation(
        bytes,
        encoding,
        { maxBytes: declaredBytes, chunkBytes: declaredBytes + 1 },
        budget,
        declaredBytes,
      );
    } catch (error) {
      // With several gzip members, or data after the last one, the declared size is smaller than the total.
      if (!(error instanceof InflateLimitError)) throw error;
    }
  }
  // A message of unknown size is inflated in chunks. Concatenating them at the end takes twice the memory for a moment.
  const neededBytes = Math.min(2 * maxBytes, budget.totalBytes);
  return inflateWithReservation(bytes, encoding, { maxBytes, chunkBytes: 64 * 1024 }, budget, neededBytes);
}

/** Returns the status for a message with an unsupported encoding. */
export function createUnknownEncodingStatus(encoding: string) {
  const details = `Received message compressed with unsupported encoding ${JSON.stringify(encoding).slice(0, 100)}; gzip and deflate are supported`;
  return { code: status.UNIMPLEMENTED, details };
}

/** Returns the status for a message that can't be inflated. */
export function toInflationStatus(error: unknown, maxBytes: number) {
  if (!(error instanceof InflateLimitError)) return { code: status.INTERNAL, details: 'Failed to decompress message' };
  const details = `Received message that decompresses to a size larger than ${maxBytes}`;
  return { code: status.RESOURCE_EXHAUSTED, details };
}

async function inflateWithReservation(
  bytes: Buffer,
  encoding: CompressionEncoding,
  { maxBytes, chunkBytes }: { readonly maxBytes: number; readonly chunkBytes: number },
  budget: MemoryBudget,
  neededBytes: number,
) {
  const reservation = budget.reserve(neededBytes);
  try {
    const options = { maxOutputLength: Math.max(1, maxBytes), chunkSize: Math.max(64, chunkBytes) };
    const inflated = await ENCODINGS[encoding].inflate(bytes, options);
    reservation.resize(inflated.length);
    return { inflated, reservation };
  } catch (error) {
    reservation.release();
    throw isLimitError(error) ? new InflateLimitError() : error;
  }
}

/** First two bytes of a gzip stream (RFC 1952). */
const GZIP_MAGIC = 0x1f8b;

/** Size of an empty gzip stream. */
const MIN_GZIP_BYTES = 18;

/** Returns the size that a gzip stream declares at its end: that of its last member, modulo 2^32. */
function getDeclaredSize(bytes: Buffer, encoding: CompressionEncoding): number | undefined {
  const isGzip = encoding === 'gzip' && bytes.length >= MIN_GZIP_BYTES && bytes.readUInt16BE(0) === GZIP_MAGIC;
  return isGzip ? bytes.readUInt32LE(bytes.length - 4) : undefined;
}

function isLimitError(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
}
