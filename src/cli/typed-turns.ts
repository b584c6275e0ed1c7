import { on } from 'node:events';
import type { Interface } from 'node:readline';
import { TurnReader } from './turn-reader.js';

/** Has a terminal mark what is pasted, so that its lines can be told from typed ones (bracketed paste). Source: xterm. */
export const ENABLE_BRACKETED_PASTE = '\x1b[?2004h';
/** Ends that. */
export const DISABLE_BRACKETED_PASTE = '\x1b[?2004l';

/** A message or a command as it was typed or pasted. `isLiteral`: a command is not looked for in it. */
export interface TypedTurn {
  readonly text: string;
  readonly isLiteral: boolean;
}

/** Turns the lines of a line editor into turns. The lines of a paste belong to the line that it ends in, until Enter. */
export class TypedTurns {
  readonly #lines: Interface;
  readonly #reader = new TurnReader();
  #pasted: string[] = [];
  #isPasting = false;

  /** `input` is the terminal that the editor reads. */
  constructor(lines: Interface, input: NodeJS.ReadableStream) {
    this.#lines = lines;
    input.on('keypress', (_text, key?: { readonly name?: string }) => {
      if (key?.name === 'paste-start') this.#isPasting = true;
      if (key?.name === 'paste-end') this.#isPasting = false;
    });
    lines.on('line', (line: string) => this.#take(line));
  }

  /** Whether lines were taken that are not sent yet. */
  get isPending(): boolean {
    return this.#pasted.length > 0 || this.#reader.isOpen;
  }

  /** Forgets such lines. */
  clear(): void {
    this.#pasted = [];
    this.#reader.leave();
  }

  /** The turns in the order in which they are typed, until the editor is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TypedTurn | undefined> {
    for await (const [turn] of on(this.#lines, 'turn', { close: ['close'] })) yield turn;
  }

  #take(line: string): void {
    if (this.#isPasting && !this.#reader.isOpen) {
      this.#pasted.push(line);
      return;
    }
    if (this.#pasted.length > 0) {
      const text = [...this.#pasted.splice(0), line].join('\n').trim();
      this.#lines.emit('turn', { text, isLiteral: text.includes('\n') });
      return;
    }
    const turn = this.#reader.take(line);
    this.#lines.emit('turn', turn && { text: turn.text, isLiteral: turn.isFenced });
  }
}
