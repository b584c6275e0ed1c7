import type { ByteRange } from './body-pieces.js';
import { JsonStringEnd } from './json-string-end.js';
import { MemberNames, type WantedNames } from './member-names.js';

/** A member that was found: the bytes of its value. `count` is the number of members with its name. */
export interface FoundMember extends ByteRange {
  readonly count: number;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;

/**
 * Classes of bytes outside of strings. A byte without a class is not valid there. Bytes of the classes over NESTING need no
 * attention in a nested value.
 */
const OPENING = 1;
const CLOSING = 2;
const STRING = 3;
const NESTING = 3;
const SPACE = 4;
const SCALAR = 5;
const SEPARATOR = 6;

const CLASSES = new Uint8Array(256);
setClass(' \t\r\n', SPACE);
// The characters of numbers, `true`, `false` and `null`.
setClass('0123456789+-.Etrufalsen', SCALAR);
setClass(',:', SEPARATOR);
setClass('{[', OPENING);
setClass('}]', CLOSING);
setClass('"', STRING);

function setClass(characters: string, byteClass: number): void {
  for (const character of characters) CLASSES[character.charCodeAt(0)] = byteClass;
}

type State =
  | 'start'
  | 'first_name'
  | 'name'
  | 'in_name'
  | 'colon'
  | 'value'
  | 'in_string'
  | 'in_scalar'
  | 'in_container'
  | 'after_value'
  | 'end';

/**
 * Finds members of a JSON object by a scan of its bytes, which come in pieces.
 *
 * The scan checks the structure of the object itself. Of nested values it checks only that they end, and that nothing but JSON is
 * outside of their strings. So a body that it accepts need not be JSON, but every JSON parser that accepts it finds the same
 * members.
 */
export class TopLevelScanner {
  /** The members found so far, in the order of the wanted names. Of a repeated name, the last one. */
  readonly members: (FoundMember | undefined)[];
  readonly names: MemberNames;
  /** Position of the first byte that can't be there. */
  problemAt: number | undefined;
  readonly #string = new JsonStringEnd();
  #state: State = 'start';
  /** Position of the piece in the body. */
  #offset = 0;
  #depth = 0;
  #isInNestedString = false;
  #member = -1;
  #valueStart = 0;

  constructor(wanted: WantedNames) {
    this.names = new MemberNames(wanted);
    this.members = wanted.names.map(() => undefined);
  }

  /** Whether the object is complete. */
  get isComplete(): boolean {
    return this.#state === 'end' && this.problemAt === undefined;
  }

  /** Number of bytes scanned. */
  get length(): number {
    return this.#offset;
  }

  /** Scans the next piece. */
  push(piece: Buffer): void {
    let at = 0;
    while (at < piece.length && this.problemAt === undefined) at = this.#scan(piece, at);
    this.#offset += piece.length;
  }

  /** Scans a token, or the rest of one. Returns the position after it. */
  #scan(piece: Buffer, at: number): number {
    switch (this.#state) {
      case 'in_name':
        return this.#scanName(piece, at);
      case 'in_string':
        return this.#scanString(piece, at);
      case 'in_scalar':
        return this.#scanScalar(piece, at);
      case 'in_container':
        return this.#scanContainer(piece, at);
      default:
        this.#readByte(piece[at] as number, at);
        return at + 1;
    }
  }

  #scanName(piece: Buffer, at: number): number {
    const end = this.#string.find(piece, at);
    if (end < 0) {
      this.names.keep(piece.subarray(at));
      return piece.length;
    }
    const member = this.names.find(piece, at, end - 1, this.#string.hasEscape);
    if (member === undefined) this.#fail(end - 1);
    else this.#member = member;
    this.#state = 'colon';
    return end;
  }

  #scanString(piece: Buffer, at: number): number {
    const end = this.#string.find(piece, at);
    if (end >= 0) this.#endValue(end);
    return end < 0 ? piece.length : end;
  }

  #scanScalar(piece: Buffer, start: number): number {
    let at = start;
    while (at < piece.length && CLASSES[piece[at] as number] === SCALAR) at++;
    if (at < piece.length) this.#endValue(at);
    return at;
  }

  #scanContainer(piece: Buffer, start: number): number {
    let at = this.#isInNestedString ? this.#scanNestedString(piece, start) : start;
    while (at < piece.length) {
      const byteClass = CLASSES[piece[at++] as number] as number;
      // Most bytes: numbers, literals, separators and spaces.
      if (byteClass > NESTING) continue;
      if (byteClass === STRING) at = this.#scanNestedString(piece, at);
      else if (byteClass === OPENING) this.#depth++;
      else if (byteClass === CLOSING && --this.#depth === 0) {
        this.#endValue(at);
        return at;
      } else if (byteClass === 0) {
        this.#fail(at - 1);
        return at;
      }
    }
    return at;
  }

  #scanNestedString(piece: Buffer, at: number): number {
    const end = this.#string.find(piece, at);
    this.#isInNestedString = end < 0;
    return end < 0 ? piece.length : end;
  }

  #endValue(end: number): void {
    this.#state = 'after_value';
    if (this.#member < 0) return;
    const count = (this.members[this.#member]?.count ?? 0) + 1;
    this.members[this.#member] = { start: this.#valueStart, end: this.#offset + end, count };
  }

  #readByte(byte: number, at: number): void {
    if (CLASSES[byte] === SPACE) return;
    switch (this.#state) {
      case 'start':
        return void this.#proceed(byte === OPENING_BRACE, 'first_name', at);
      case 'colon':
        return void this.#proceed(byte === COLON, 'value', at);
      case 'value':
        return void this.#beginValue(CLASSES[byte] as number, at);
      case 'after_value':
        if (byte !== CLOSING_BRACE) return void this.#proceed(byte === COMMA, 'name', at);
        break;
      case 'first_name':
      case 'name':
        this.#string.hasEscape = false;
        if (byte !== CLOSING_BRACE || this.#state === 'name') return void this.#proceed(byte === QUOTE, 'in_name', at);
        break;
      default:
        return void this.#fail(at);
    }
    this.#state = 'end';
  }

  #beginValue(byteClass: number, at: number): void {
    this.#valueStart = this.#offset + at;
    this.#depth = 1;
    if (byteClass === OPENING) this.#state = 'in_container';
    else if (byteClass === SCALAR) this.#state = 'in_scalar';
    else this.#proceed(byteClass === STRING, 'in_string', at);
  }

  #proceed(isExpected: boolean, state: State, at: number): void {
    if (isExpected) this.#state = state;
    else this.#fail(at);
  }

  #fail(at: number): void {
    this.problemAt = this.#offset + at;
  }
}
