import { isRoutable, type Registration } from '../core/replica.js';
import type { ReplicaPage } from '../core/replica-pages.js';
import type { SerializedReplica } from './serialized-replica.js';

/** A page of the API server's list. */
type Page = ReplicaPage<SerializedReplica>;

/** The serialization of one page of the replica list. It has no reference to a registration, so it keeps none in memory. */
export interface SerializedPage {
  readonly revisions: readonly number[];
  /** The routable replicas as JSON, each after a comma. */
  readonly bytes: Buffer;
  /** Number of bytes of each registration. 0 for a replica that is not routable. */
  readonly lengths: Uint32Array;
}

const EMPTY_PAGE: SerializedPage = { revisions: [], bytes: Buffer.alloc(0), lengths: new Uint32Array(0) };

/** Serializes the pages of one registry. Caches the last serialization of each, so an unchanged list costs nearly nothing. */
export class PageSerializer {
  #cache = new Map<number, SerializedPage>();

  /** Drops the cached pages that are not among these. */
  retain(pages: readonly Page[]): void {
    const retained = new Map<number, SerializedPage>();
    for (const { id } of pages) {
      const page = this.#cache.get(id);
      if (page) retained.set(id, page);
    }
    this.#cache = retained;
  }

  /** Returns the routable replicas of a page as JSON, each after a comma. */
  serialize(page: Page): Buffer {
    const previous = this.#cache.get(page.id);
    if (previous?.revisions === page.revisions) return previous.bytes;
    const serialized = serializePage(page, previous);
    this.#cache.set(page.id, serialized);
    return serialized.bytes;
  }
}

/**
 * Serializes a page. Registrations that the previous page has in the same order are copied from its bytes, without
 * touching the registration objects: following pointers from a registration to its replica to its text causes cache
 * misses, which dominate the cost of serializing. The result does not depend on the previous page.
 */
export function serializePage(
  { registrations, revisions }: Omit<Page, 'id'>,
  previous: SerializedPage = EMPTY_PAGE,
): SerializedPage {
  const lengths = new Uint32Array(revisions.length);
  const pieces: (string | Buffer)[] = [];
  const cursor = new PageCursor(previous, revisions.length);
  for (let index = 0; index < revisions.length; ) {
    const begin = index;
    if (cursor.moveTo(revisions[index])) {
      const beginByte = cursor.byteOffset;
      while (cursor.isAt(revisions[index])) lengths[index++] = cursor.advance();
      pieces.push(previous.bytes.subarray(beginByte, cursor.byteOffset));
      continue;
    }
    // A new registration usually replaces the one that was at its position.
    for (; index < revisions.length && !cursor.moveTo(revisions[index]); index++) cursor.advance();
    pieces.push(serializeRange(registrations, begin, index, lengths));
  }
  return { revisions, bytes: concatPieces(pieces), lengths };
}

/** A position in the previous page. It only moves forward. */
class PageCursor {
  readonly #revisions: readonly number[];
  readonly #lengths: Uint32Array;
  readonly #hasShrunk: boolean;
  #index = 0;
  /** Offset of the current registration's first byte. */
  byteOffset = 0;

  constructor({ revisions, lengths }: SerializedPage, newLength: number) {
    this.#revisions = revisions;
    this.#lengths = lengths;
    this.#hasShrunk = revisions.length > newLength;
  }

  isAt(revision: number | undefined): boolean {
    return revision !== undefined && this.#revisions[this.#index] === revision;
  }

  /**
   * Moves to a registration and returns whether it was found. Skips others only if the page has shrunk, because then
   * they can have been removed.
   */
  moveTo(revision: number | undefined): boolean {
    if (!this.#hasShrunk || revision === undefined) return this.isAt(revision);
    const found = this.#revisions.indexOf(revision, this.#index);
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
  registrations: readonly Registration<SerializedReplica>[],
  from: number,
  to: number,
  lengths: Uint32Array,
): string {
  // The empty first text puts a comma before the first replica.
  const texts = [''];
  for (let index = from; index < to; index++) {
    const registration = registrations[index] as Registration<SerializedReplica>;
    if (!isRoutable(registration)) continue;
    const text = registration.replica.listEntry;
    texts.push(text);
    lengths[index] = 1 + text.length;
  }
  // join() makes a flat string. Concatenation would make a tree of strings, which is slow to encode.
  const text = texts.join(',');
  if (Buffer.byteLength(text) === text.length) return text;
  // With characters outside ASCII, a string has more bytes than UTF-16 units.
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
