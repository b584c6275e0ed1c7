import { on } from 'node:events';
import type { Interface } from 'node:readline';
import { TurnReader } from './turn-reader.js';

/** Makes a terminal mark pasted text, so that it can be distinguished from typed text (bracketed paste). Source: xterm. */
export const ENABLE_BRACKETED_PASTE = '\x1b[?2004h';
/** Turns bracketed paste off. */
export const DISABLE_BRACKETED_PASTE = '\x1b[?2004l';

/** A typed or pasted message or command. `isLiteral`: the text is a message even if it begins with a slash. */
export interface TypedTurn {
  readonly text: string;
  readonly isLiteral: boolean;
}

/** Converts lines of a line editor into turns. Pasted lines are held back and joined with the line that Enter completes. */
export class TypedTurns {
  readonly #lines: Interface;
  readonly #reader = new TurnReader();
  #pasted: string[] = [];
  #isPasting = false;

  /** `input` is the terminal that the line editor reads. */
  constructor(lines: Interface, input: NodeJS.ReadableStream) {
    this.#lines = lines;
    input.on('keypress', (_text, key?: { readonly name?: string }) => {
      if (key?.name === 'paste-start') this.#isPasting = true;
      if (key?.name === 'paste-end') this.#isPasting = false;
    });
    lines.on('line', (line: string) => this.#push(line));
  }

  /** Whether there are lines that are not part of a complete turn yet. */
  get isPending(): boolean {
    return this.#pasted.length > 0 || this.#reader.isOpen;
  }

  /** Discards the pending lines. */
  clear(): void {
    this.#pasted = [];
    this.#reader.flush();
  }

  /** Yields the turns in order until the editor is closed. Undefined: a line that completes no turn. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TypedTurn | undefined> {
    for await (const [turn] of on(this.#lines, 'turn', { close: ['close'] })) yield turn;
  }

  #push(line: string): void {
    if (this.#isPasting && !this.#reader.isOpen) {
      this.#pasted.push(line);
      return;
    }
    if (this.#pasted.length > 0) {
      const text = [...this.#pasted.splice(0), line].join('\n').trim();
      this.#lines.emit('turn', { text, isLiteral: text.includes('\n') });
      return;
    }
    const turn = this.#reader.push(line);
    this.#lines.emit('turn', turn && { text: turn.text, isLiteral: turn.isFenced });
  }
}
