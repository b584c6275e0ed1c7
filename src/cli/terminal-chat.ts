import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { escapeControlsInProse } from '../core/control-characters.js';
import { AnyserveError } from '../core/errors.js';
import { interpretLine } from './chat-commands.js';
import type { CommandIo } from './command.js';
import type { Conversation } from './conversation.js';
import { reportFailure } from './output.js';
import { DISABLE_BRACKETED_PASTE, ENABLE_BRACKETED_PASTE, TypedTurns } from './typed-turns.js';

const PROMPT = '> ';
/** The prompt within a message of several lines. */
const MORE = '. ';

/** Holds a conversation with whoever sits at the terminal; resolves to the exit code. */
export async function runTerminalChat(conversation: Conversation, io: CommandIo): Promise<number> {
  const { stdin, stderr, interrupted } = io;
  const screen = new Screen(stderr);
  const lines = createInterface({ input: stdin, output: screen, terminal: true, prompt: PROMPT, signal: interrupted });
  const turns = new TypedTurns(lines, stdin);
  let answering: AbortController | undefined;
  let isOpen = true;
  let wasInterrupted = false;
  lines.once('close', () => {
    isOpen = false;
  });
  const clearLine = (): void => {
    lines.write(null, { ctrl: true, name: 'e' });
    lines.write(null, { ctrl: true, name: 'u' });
  };
  // The line editor takes the key itself, so that it reaches nobody as a signal.
  lines.on('SIGINT', () => {
    if (answering) return answering.abort();
    if (lines.line !== '' || turns.isPending) {
      turns.clear();
      lines.setPrompt(PROMPT);
      return clearLine();
    }
    wasInterrupted = true;
    lines.close();
  });
  const answer = async (text: string): Promise<void> => {
    answering = new AbortController();
    screen.isOn = false;
    try {
      await conversation.turn(text, answering.signal);
    } catch (error) {
      if (!(error instanceof AnyserveError) || interrupted.aborted) throw error;
      reportFailure(error, io);
    } finally {
      answering = undefined;
      screen.isOn = true;
    }
  };

  try {
    stderr.write(`${ENABLE_BRACKETED_PASTE}/help lists the commands; Ctrl-D ends the conversation\n`);
    lines.prompt();
    for await (const turn of turns) {
      if (turn) {
        const typed = turn.isLiteral
          ? ({ kind: 'message', text: turn.text } as const)
          : interpretLine(turn.text, conversation);
        if (typed.kind === 'exit') return 0;
        if (typed.kind === 'done') stderr.write(escapeControlsInProse(typed.said));
        else if (typed.text.trim() !== '') await answer(typed.text);
      }
      lines.setPrompt(turns.isPending ? MORE : PROMPT);
      // It may have been closed during an answer.
      if (isOpen) lines.prompt(true);
    }
    // The cursor stands behind the prompt.
    stderr.write('\n');
    interrupted.throwIfAborted();
    return wasInterrupted ? new AnyserveError('interrupted', 'interrupted').exitCode : 0;
  } finally {
    lines.close();
    screen.destroy();
    stderr.write(DISABLE_BRACKETED_PASTE);
  }
}

/** What the line editor writes to a terminal. Off while an answer comes, so that what is typed does not run into it. */
class Screen extends Writable {
  isOn = true;
  readonly #terminal: CommandIo['stderr'];
  /** The line editor lays its line out anew then. */
  readonly #resized = (): void => void (this.isOn && this.emit('resize'));

  constructor(terminal: CommandIo['stderr']) {
    super();
    this.#terminal = terminal;
    terminal.on('resize', this.#resized);
  }

  /** How wide the terminal is; the line editor asks. */
  get columns(): number | undefined {
    return this.#terminal.columns;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.isOn) this.#terminal.write(chunk);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#terminal.removeListener('resize', this.#resized);
    done(error);
  }
}
