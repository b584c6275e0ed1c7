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
    if (usage !== undefined) return parseUsage(usage);
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

function parseUsage(text: string): TokenUsage | undefined {
  try {
    const usage = JSON.parse(text) as Partial<Record<string, unknown>>;
    const input = usage['prompt_tokens'] ?? usage['input_tokens'];
    const output = usage['completion_tokens'] ?? usage['output_tokens'] ?? 0;
    return isCount(input) && isCount(output) ? { input, output } : undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
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
