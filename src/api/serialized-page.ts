import { isRoutable, type Registration } from '../core/replica.js';
import { serializeReplica } from './serialized-replica.js';

/** What was written of a page of the list. */
export interface SerializedPage {
  readonly registrations: readonly Registration[];
  /** The replicas that are routed to, each with a comma before it. */
  readonly bytes: Buffer;
  /** How many of the bytes are of each registration: none, where its replica is not routed to. */
  readonly lengths: Uint32Array;
}

const NOTHING: SerializedPage = { registrations: [], bytes: Buffer.alloc(0), lengths: new Uint32Array(0) };

/**
 * Writes a page. What is in the page that was written before, in the same order, is copied from there and not looked at:
 * the way from a registration to its replica, to its text and to the characters is paid for with waits for memory, which
 * are most of what writing costs. Whatever page was before, the bytes are the same.
 */
export function serializePage(
  registrations: readonly Registration[],
  before: SerializedPage = NOTHING,
): SerializedPage {
  const lengths = new Uint32Array(registrations.length);
  const pieces: (string | Buffer)[] = [];
  const old = new OldPage(before, registrations.length);
  for (let at = 0; at < registrations.length; ) {
    const begin = at;
    if (old.goTo(registrations[at])) {
      const beginByte = old.byteAt;
      while (old.isAt(registrations[at])) lengths[at++] = old.pass();
      pieces.push(before.bytes.subarray(beginByte, old.byteAt));
      continue;
    }
    // Whoever is new is taken to be in the place of one that is gone.
    for (; at < registrations.length && !old.goTo(registrations[at]); at++) old.pass();
    pieces.push(newText(registrations, begin, at, lengths));
  }
  return { registrations, bytes: joined(pieces), lengths };
}

/** Goes through what was written before, in its order. */
class OldPage {
  readonly #registrations: readonly Registration[];
  readonly #lengths: Uint32Array;
  readonly #hasShrunk: boolean;
  /** Which registration is the next. */
  #at = 0;
  /** Where its bytes begin. */
  byteAt = 0;

  constructor({ registrations, lengths }: SerializedPage, newLength: number) {
    this.#registrations = registrations;
    this.#lengths = lengths;
    this.#hasShrunk = registrations.length > newLength;
  }

  isAt(registration: Registration | undefined): boolean {
    return registration !== undefined && this.#registrations[this.#at] === registration;
  }

  /** Goes to a registration if it is the next, or if those before it may have left; false where it is not. */
  goTo(registration: Registration | undefined): boolean {
    if (!this.#hasShrunk || registration === undefined) return this.isAt(registration);
    const found = this.#registrations.indexOf(registration, this.#at);
    while (this.#at < found) this.pass();
    return found >= 0;
  }

  /** Goes to the one after; returns how many bytes the one passed by has. */
  pass(): number {
    const length = this.#lengths[this.#at++] ?? 0;
    this.byteAt += length;
    return length;
  }
}

/** The text of those from one place to another, and notes their lengths. */
function newText(registrations: readonly Registration[], from: number, to: number, lengths: Uint32Array): string {
  // The empty one has the first replica begin with a comma, too.
  const texts = [''];
  for (let at = from; at < to; at++) {
    const registration = registrations[at] as Registration;
    if (!isRoutable(registration)) continue;
    const text = serializeReplica(registration.replica);
    texts.push(text);
    lengths[at] = 1 + text.length;
  }
  // Joined, it is one text; added to each other they would be a tree of texts.
  const text = texts.join(',');
  if (Buffer.byteLength(text) === text.length) return text;
  // Not all is ASCII.
  for (let at = from, n = 0; at < to; at++)
    if (lengths[at] !== 0) lengths[at] = 1 + Buffer.byteLength(texts[++n] as string);
  return text;
}

/** All pieces as bytes, in UTF-8. */
function joined(pieces: readonly (string | Buffer)[]): Buffer {
  let length = 0;
  for (const piece of pieces) length += Buffer.byteLength(piece);
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const piece of pieces) at += typeof piece === 'string' ? bytes.write(piece, at) : piece.copy(bytes, at);
  return bytes;
}
