import type { TokenUsage } from '../telemetry/finished-call.js';

/** Number of bytes at the end of a response in which the usage is looked for. */
const TAIL_BYTES = 2048;

/** A member `usage` of an object, whose own members can be objects: `"usage":{"total_tokens":5,"details":{}}`. */
const USAGE = /"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})/g;

/**
 * Finds how many tokens a response has used, in the last 2 KiB of its body: at the end of a JSON object, or in the last event of a
 * stream. Text of a model can't be taken for it, because quotes are escaped there. Undefined if the response does not say.
 */
export function findTokenUsage(pieces: readonly Buffer[]): TokenUsage | undefined {
  const text = readTail(pieces);
  let found: string | undefined;
  for (const [, usage] of text.matchAll(USAGE)) found = usage;
  return found === undefined ? undefined : parseUsage(found);
}

function readTail(pieces: readonly Buffer[]): string {
  let text = '';
  for (let index = pieces.length - 1; index >= 0 && text.length < TAIL_BYTES; index--) {
    const piece = pieces[index] as Buffer;
    text = piece.toString('latin1', Math.max(0, piece.length - TAIL_BYTES + text.length)) + text;
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

/** Keeps the last pieces of a body that arrives. */
export class BodyTail {
  /** At least the last 2 KiB. */
  pieces: Buffer[] = [];
  #bytes = 0;

  add(piece: Buffer): void {
    this.pieces.push(piece);
    this.#bytes += piece.length;
    // The first piece is not needed if the others are enough. Few pieces are small, so this removes one of them each time.
    while (this.pieces.length > 1 && this.#bytes - (this.pieces[0] as Buffer).length >= TAIL_BYTES)
      this.#bytes -= (this.pieces.shift() as Buffer).length;
  }
}
