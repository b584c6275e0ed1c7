import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import { escapeControlsInProse } from '../core/control-characters.js';
import { AnyserveError } from '../core/errors.js';
import { interpretLine } from './chat-commands.js';
import type { CommandIo } from './command.js';
import type { Conversation } from './conversation.js';
import { reportFailure } from './output.js';
import { DISABLE_BRACKETED_PASTE, ENABLE_BRACKETED_PASTE, type TypedTurn, TypedTurns } from './typed-turns.js';

const PROMPT = '> ';

/** Prompt inside a multi-line message. */
const CONTINUATION_PROMPT = '. ';

/** Runs an interactive conversation at a terminal. Resolves to the exit code. */
export async function runTerminalChat(conversation: Conversation, io: CommandIo): Promise<number> {
  const chat = new TerminalChat(conversation, io);
  try {
    return await chat.run();
  } finally {
    chat.close();
  }
}

/** An interactive conversation: line editor, Ctrl-C handling and the response in progress. */
class TerminalChat {
  readonly #conversation: Conversation;
  readonly #io: CommandIo;
  readonly #screen: EditorScreen;
  readonly #editor: Interface;
  readonly #turns: TypedTurns;
  /** Stops the response in progress. Undefined between responses. */
  #response: AbortController | undefined;
  #isOpen = true;
  #wasInterrupted = false;

  constructor(conversation: Conversation, io: CommandIo) {
    const { stdin, stderr, interrupted } = io;
    this.#conversation = conversation;
    this.#io = io;
    this.#screen = new EditorScreen(stderr);
    this.#editor = createInterface({
      input: stdin,
      output: this.#screen,
      terminal: true,
      prompt: PROMPT,
      signal: interrupted,
    });
    this.#turns = new TypedTurns(this.#editor, stdin);
    this.#editor.once('close', () => {
      this.#isOpen = false;
    });
    // The line editor reads the key itself, so Ctrl-C never arrives as a signal.
    this.#editor.on('SIGINT', () => this.#handleCtrlC());
  }

  /** Prompts for turns until the user ends the conversation. Resolves to the exit code. */
  async run(): Promise<number> {
    const { stderr, interrupted } = this.#io;
    this.#writeSequence(ENABLE_BRACKETED_PASTE);
    stderr.write(`/help lists the commands; Ctrl-D ends the conversation\n`);
    this.#editor.prompt();
    for await (const turn of this.#turns) {
      if (turn && !(await this.#handleTurn(turn))) return 0;
      this.#editor.setPrompt(this.#turns.isPending ? CONTINUATION_PROMPT : PROMPT);
      // The editor can have been closed during a response.
      if (this.#isOpen) this.#editor.prompt(true);
    }
    // Moves the cursor from the prompt to a new line.
    stderr.write('\n');
    interrupted.throwIfAborted();
    return this.#wasInterrupted ? new AnyserveError('interrupted', 'interrupted').exitCode : 0;
  }

  close(): void {
    this.#editor.close();
    this.#screen.destroy();
    this.#writeSequence(DISABLE_BRACKETED_PASTE);
  }

  /** Writes an escape sequence, except to a terminal that would print it. */
  #writeSequence(sequence: string): void {
    if (this.#io.env['TERM'] !== 'dumb') this.#io.stderr.write(sequence);
  }

  /** Stops the response, or clears the input. Ends the conversation when there is neither. */
  #handleCtrlC(): void {
    if (this.#response) {
      this.#response.abort();
    } else if (this.#editor.line !== '' || this.#turns.isPending) {
      this.#turns.clear();
      this.#editor.setPrompt(PROMPT);
      this.#clearLine();
    } else {
      this.#wasInterrupted = true;
      this.#editor.close();
    }
  }

  /** Types Ctrl-E and Ctrl-U: moves to the end of the line and erases it. */
  #clearLine(): void {
    this.#editor.write(null, { ctrl: true, name: 'e' });
    this.#editor.write(null, { ctrl: true, name: 'u' });
  }

  /** Runs a command or sends a message. Resolves to false when the turn ends the conversation. */
  async #handleTurn({ text, isLiteral }: TypedTurn): Promise<boolean> {
    const typed = isLiteral ? ({ kind: 'message', text } as const) : interpretLine(text, this.#conversation);
    if (typed.kind === 'exit') return false;
    if (typed.kind === 'output') this.#io.stderr.write(escapeControlsInProse(typed.text));
    else if (typed.text.trim() !== '') await this.#sendMessage(typed.text);
    return true;
  }

  /** Sends a message and prints the response. A failure is reported, and the conversation goes on. */
  async #sendMessage(text: string): Promise<void> {
    this.#response = new AbortController();
    this.#screen.isOn = false;
    try {
      await this.#conversation.sendTurn(text, this.#response.signal);
    } catch (error) {
      if (!(error instanceof AnyserveError) || this.#io.interrupted.aborted) throw error;
      reportFailure(error, this.#io, { json: this.#conversation.isJson });
    } finally {
      this.#response = undefined;
      this.#screen.isOn = true;
    }
  }
}

/** Output of the line editor. Off during a response, so that typed text doesn't mix with it. */
class EditorScreen extends Writable {
  isOn = true;
  readonly #terminal: CommandIo['stderr'];
  /** Forwards the event, on which the line editor redraws its line. */
  readonly #handleResize = (): void => void (this.isOn && this.emit('resize'));

  constructor(terminal: CommandIo['stderr']) {
    super();
    this.#terminal = terminal;
    terminal.on('resize', this.#handleResize);
  }

  /** Width of the terminal. Read by the line editor. */
  get columns(): number | undefined {
    return this.#terminal.columns;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.isOn) this.#terminal.write(chunk);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#terminal.removeListener('resize', this.#handleResize);
    done(error);
  }
}
