import { promisify } from 'node:util';
import { gunzip, gunzipSync, inflate, inflateSync } from 'node:zlib';
import type { MemoryBudget, Reservation } from './memory-budget.js';

/** The encodings of gRPC messages that are understood besides `identity`. */
const ENCODINGS = {
  gzip: { inflate: promisify(gunzip), inflateSync: gunzipSync },
  deflate: { inflate: promisify(inflate), inflateSync },
} as const;

export type CompressionEncoding = keyof typeof ENCODINGS;

export function isCompressionEncoding(name: string): name is CompressionEncoding {
  return Object.hasOwn(ENCODINGS, name);
}

/** A message that inflates to more than the limit. Inflation ended there. */
export class InflateLimitError extends Error {}

/** Maximum size, compressed and inflated, of what is inflated at once: for less, handing it to a thread costs more. */
const MAX_SYNC_BYTES = 16 * 1024;

/**
 * Inflates a small message at once. Inflation stops at the limit. Throws {@link InflateLimitError}, and zlib's error for bytes
 * that are not of the encoding.
 */
export function inflateSmallMessage(bytes: Buffer, encoding: CompressionEncoding, maxBytes: number): Buffer {
  try {
    // One byte more than the limit, so that what just fits needs one buffer.
    return ENCODINGS[encoding].inflateSync(bytes, { maxOutputLength: maxBytes, chunkSize: Math.max(64, maxBytes + 1) });
  } catch (error) {
    throw isTooLarge(error) ? new InflateLimitError() : error;
  }
}

/**
 * Inflates a message of any size. The memory it can take is reserved before anything is inflated, and the reservation that
 * is returned holds what the message takes. Throws as {@link inflateSmallMessage} does, and `resource_exhausted` at once when there
 * is no room.
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
  const declared = declaredSize(bytes, encoding);
  if (declared !== undefined && declared > maxBytes) throw new InflateLimitError();
  if (declared !== undefined) {
    try {
      // What is declared is one buffer, which is the message.
      return await inflateWithin(bytes, encoding, { maxBytes: declared, chunkBytes: declared + 1 }, budget, declared);
    } catch (error) {
      // Several members, or something after the last one: the size declared is not that of the whole.
      if (!(error instanceof InflateLimitError)) throw error;
    }
  }
  // Of an unknown size, it comes in pieces, which are joined at the end: for that moment both are there.
  const neededBytes = Math.min(2 * maxBytes, budget.totalBytes);
  return inflateWithin(bytes, encoding, { maxBytes, chunkBytes: 64 * 1024 }, budget, neededBytes);
}

async function inflateWithin(
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
    throw isTooLarge(error) ? new InflateLimitError() : error;
  }
}

/** How a gzip stream begins, and the size of an empty one (RFC 1952). */
const GZIP_MAGIC = 0x1f8b;
const LEAST_GZIP_BYTES = 18;

/** The size that a gzip stream declares at its end; modulo 2^32, and of its last member. */
function declaredSize(bytes: Buffer, encoding: CompressionEncoding): number | undefined {
  const isGzip = encoding === 'gzip' && bytes.length >= LEAST_GZIP_BYTES && bytes.readUInt16BE(0) === GZIP_MAGIC;
  return isGzip ? bytes.readUInt32LE(bytes.length - 4) : undefined;
}

function isTooLarge(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
}
