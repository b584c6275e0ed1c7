import { isRoutable, type Registration } from '../core/replica.js';
import { serializeReplica } from './serialized-replica.js';

/** The serialization of one page of the replica list. */
export interface SerializedPage {
  readonly registrations: readonly Registration[];
  /** The routable replicas as JSON, each after a comma. */
  readonly bytes: Buffer;
  /** Number of bytes of each registration. 0 for a replica that is not routable. */
  readonly lengths: Uint32Array;
}

const EMPTY_PAGE: SerializedPage = { registrations: [], bytes: Buffer.alloc(0), lengths: new Uint32Array(0) };

/**
 * Serializes a page. Registrations that the previous page has in the same order are copied from its bytes, without
 * touching the registration objects: following pointers from a registration to its replica to its text causes cache
 * misses, which dominate the cost of serializing. The result does not depend on the previous page.
 */
export function serializePage(
  registrations: readonly Registration[],
  previous: SerializedPage = EMPTY_PAGE,
): SerializedPage {
  const lengths = new Uint32Array(registrations.length);
  const pieces: (string | Buffer)[] = [];
  const cursor = new PageCursor(previous, registrations.length);
  for (let index = 0; index < registrations.length; ) {
    const begin = index;
    if (cursor.moveTo(registrations[index])) {
      const beginByte = cursor.byteOffset;
      while (cursor.isAt(registrations[index])) lengths[index++] = cursor.advance();
      pieces.push(previous.bytes.subarray(beginByte, cursor.byteOffset));
      continue;
    }
    // A new registration usually replaces the one that was at its position.
    for (; index < registrations.length && !cursor.moveTo(registrations[index]); index++) cursor.advance();
    pieces.push(serializeRange(registrations, begin, index, lengths));
  }
  return { registrations, bytes: concatPieces(pieces), lengths };
}

/** A position in the previous page. It only moves forward. */
class PageCursor {
  readonly #registrations: readonly Registration[];
  readonly #lengths: Uint32Array;
  readonly #hasShrunk: boolean;
  #index = 0;
  /** Offset of the current registration's first byte. */
  byteOffset = 0;

  constructor({ registrations, lengths }: SerializedPage, newLength: number) {
    this.#registrations = registrations;
    this.#lengths = lengths;
    this.#hasShrunk = registrations.length > newLength;
  }

  isAt(registration: Registration | undefined): boolean {
    return registration !== undefined && this.#registrations[this.#index] === registration;
  }

  /**
   * Moves to a registration and returns whether it was found. Skips others only if the page has shrunk, because then
   * they can have been removed.
   */
  moveTo(registration: Registration | undefined): boolean {
    if (!this.#hasShrunk || registration === undefined) return this.isAt(registration);
    const found = this.#registrations.indexOf(registration, this.#index);
    while (this.#index < found) this.advance();
    return found >= 0;
  }

  /** Moves to the next registration. Returns the number of bytes of the current one. */
  advance(): number {
    const length = this.#lengths[this.#index++] ?? 0;
    this.byteOffset += length;
    return length;
  }
}

/** Serializes the registrations from index `from` up to, but not including, `to`. Sets their lengths. */
function serializeRange(
  registrations: readonly Registration[],
  from: number,
  to: number,
  lengths: Uint32Array,
): string {
  // The empty first text puts a comma before the first replica.
  const texts = [''];
  for (let index = from; index < to; index++) {
    const registration = registrations[index] as Registration;
    if (!isRoutable(registration)) continue;
    const text = serializeReplica(registration.replica);
    texts.push(text);
    lengths[index] = 1 + text.length;
  }
  // join() makes a flat string. Concatenation would make a tree of strings, which is slow to encode.
  const text = texts.join(',');
  if (Buffer.byteLength(text) === text.length) return text;
  // With characters outside ASCII, a text has more bytes than UTF-16 units.
  for (let index = from, n = 0; index < to; index++)
    if (lengths[index] !== 0) lengths[index] = 1 + Buffer.byteLength(texts[++n] as string);
  return text;
}

/** Concatenates the pieces as UTF-8. */
function concatPieces(pieces: readonly (string | Buffer)[]): Buffer {
  let length = 0;
  for (const piece of pieces) length += Buffer.byteLength(piece);
  const bytes = Buffer.allocUnsafeSlow(length);
  let offset = 0;
  for (const piece of pieces)
    offset += typeof piece === 'string' ? bytes.write(piece, offset) : piece.copy(bytes, offset);
  return bytes;
}
