import type { TokenUsage } from '../telemetry/finished-call.js';

const NO_BYTES = Buffer.alloc(0);

/** Number of bytes at each end of a response in which the usage is looked for. */
const END_BYTES = 2048;

const NAME = '"usage"';

/** A member `usage` of an object, whose own members can be objects: `"usage":{"total_tokens":5,"details":{}}`. */
const USAGE = /"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})/y;

/**
 * Finds how many tokens a response has used, in the last 2 KiB of its body: at the end of a JSON object, or in the last event of a
 * stream. Otherwise in the first 2 KiB, where llama.cpp has it for embeddings. Text of a model can't be taken for it, because quotes are
 * escaped there. Undefined if the response does not say.
 */
export function findTokenUsage(pieces: readonly Buffer[]): TokenUsage | undefined {
  const tail = readTail(pieces);
  const usage = findLastUsage(tail);
  // A shorter text is the whole body.
  return usage || tail.length < END_BYTES ? usage : findLastUsage(readHead(pieces));
}

function findLastUsage(text: string): TokenUsage | undefined {
  // A pattern that looks for all occurrences takes ten times as long as this search from the end.
  for (let at = text.lastIndexOf(NAME); at >= 0; at = at > 0 ? text.lastIndexOf(NAME, at - 1) : -1) {
    USAGE.lastIndex = at;
    const [, usage] = USAGE.exec(text) ?? [];
    if (usage !== undefined) return readUsage(usage);
  }
  return undefined;
}

function readHead(pieces: readonly Buffer[]): string {
  let text = '';
  for (const piece of pieces) {
    if (text.length >= END_BYTES) break;
    text += piece.toString('latin1', 0, END_BYTES - text.length);
  }
  return text;
}

function readTail(pieces: readonly Buffer[]): string {
  let text = '';
  for (let index = pieces.length - 1; index >= 0 && text.length < END_BYTES; index--) {
    const piece = pieces[index] as Buffer;
    text = piece.toString('latin1', Math.max(0, piece.length - END_BYTES + text.length)) + text;
  }
  return text;
}

const COLON = 0x3a;
const ZERO = 0x30;
const SPACE = 0x20;
const INVALID = -1;

/** Maximum number of digits of a count: more can be above 2^53. */
const MAX_DIGITS = 15;

/** Reads the counts of a `usage` object. `JSON.parse` took 1.4 % of the processor time of a call. */
function readUsage(text: string): TokenUsage | undefined {
  const input = readCount(text, '"prompt_tokens"') ?? readCount(text, '"input_tokens"');
  const output = readCount(text, '"completion_tokens"') ?? readCount(text, '"output_tokens"') ?? 0;
  return input === undefined || input < 0 || output < 0 ? undefined : { input, output };
}

/** Reads a member that is a count. Returns -1 for any other value, and undefined if there is no such member. `name` is in quotes. */
function readCount(text: string, name: string): number | undefined {
  const nameAt = text.indexOf(name);
  if (nameAt < 0) return undefined;
  const colonAt = skipSpace(text, nameAt + name.length);
  if (text.charCodeAt(colonAt) !== COLON) return INVALID;
  const startAt = skipSpace(text, colonAt + 1);
  let at = startAt;
  let count = 0;
  for (let digit = getDigit(text, at); digit >= 0 && at - startAt < MAX_DIGITS; digit = getDigit(text, ++at))
    count = count * 10 + digit;
  const isEnd = at > startAt && /[\s,}]/.test(text.charAt(at));
  return isEnd ? count : INVALID;
}

/** Returns the value of a digit; -1 for any other character. */
function getDigit(text: string, at: number): number {
  const digit = text.charCodeAt(at) - ZERO;
  return digit >= 0 && digit <= 9 ? digit : -1;
}

/** Returns the first position that is not white space. */
function skipSpace(text: string, from: number): number {
  let at = from;
  while (text.charCodeAt(at) <= SPACE) at++;
  return at;
}

/**
 * Keeps the end of a body that arrives. It copies the bytes, because a piece can be a small part of the memory that it keeps, and
 * thousands of streams can be open.
 */
export class BodyTail {
  #bytes = NO_BYTES;
  #length = 0;

  /** At least the last 2 KiB, or all of the body. */
  get pieces(): readonly Buffer[] {
    return [this.#bytes.subarray(0, this.#length)];
  }

  add(piece: Buffer): void {
    if (this.#bytes === NO_BYTES) this.#bytes = Buffer.allocUnsafeSlow(2 * END_BYTES);
    if (piece.length >= END_BYTES) {
      this.#length = piece.copy(this.#bytes, 0, piece.length - END_BYTES);
      return;
    }
    if (this.#length + piece.length > this.#bytes.length) {
      this.#bytes.copyWithin(0, this.#length - END_BYTES, this.#length);
      this.#length = END_BYTES;
    }
    this.#length += piece.copy(this.#bytes, this.#length);
  }
}
