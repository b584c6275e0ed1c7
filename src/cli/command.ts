import type { Readable, Writable } from 'node:stream';

/** A value that completion offers. */
export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** Where completion gets the values of an option or a word from. */
export interface Suggestions {
  /** All values that there are. */
  readonly choices?: readonly string[];
  /** Where the values come from: the API server knows ids, endpoints, models (`llama`), and capabilities (`model=llama`). */
  readonly suggests?: 'files' | 'replica ids' | 'endpoints' | 'models' | 'pair' | 'capability';
}

/** One option of a command. Its variable is `ANYSERVE_` and its name in capitals. */
export interface CommandOption extends Suggestions {
  readonly type: 'text' | 'flag';
  /** What stands for the value in the help: `PORT`. */
  readonly value?: string;
  readonly description: string;
  /** What holds when neither the flag nor the variable is given, as the help shows it. */
  readonly default?: string;
  /** Whether it can be given several times; its variable then holds a value a line. */
  readonly repeatable?: boolean;
  /** Whether the variable of a repeatable option may also have spaces between the values. */
  readonly spaced?: boolean;
  /** Whether the empty text is a value. */
  readonly mayBeEmpty?: boolean;
  /** Whether the value can be left out, which gives the empty text. */
  readonly mayStandAlone?: boolean;
}

/** What the user gave, checked for form and not yet for meaning. */
export interface Arguments {
  /** The words that belong to no option. */
  readonly words: readonly string[];
  /** The words behind `--`, of a command that runs a program; undefined when there is no `--`. */
  readonly program: readonly string[] | undefined;
  /** An option's value: the flag, else the variable, else the default. */
  text(option: string): string | undefined;
  /** All values of a repeatable option. */
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /** Whether it stands on the command line itself. */
  isGiven(option: string): boolean;
}

/** The world as a command sees it: where it writes, what it reads, and when it must end. */
export interface CommandIo {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted when nobody reads stdout any more; what runs only to print can end then. */
  readonly stdoutClosed: AbortSignal;
  /** Aborted by Ctrl-C or SIGTERM; the reason is the signal's name. */
  readonly interrupted: AbortSignal;
  /** Aborted by the second of them: leave at once. */
  readonly forceQuit: AbortSignal;
}

/** A command of the binary: everything that the help, the parser and the user need of it. */
export interface Command {
  readonly name: string;
  /** What stands behind the name in the usage line. */
  readonly usage: string;
  readonly summary: string;
  /** Command lines that work, each with what it does. */
  readonly examples: readonly (readonly [commandLine: string, meaning: string])[];
  readonly options: Readonly<Record<string, CommandOption>>;
  /** How many words it takes at most. */
  readonly maxWords: number;
  /** What completion offers for each of those words; the last entry is for all that follow, too. */
  readonly words?: readonly Suggestions[];
  /** Whether what stands behind `--` is a program to run, with its arguments, and not words like others. */
  readonly runsProgram?: boolean;
  /** Does it; resolves to the exit code. What it throws is reported in one line, with the failure's exit code. */
  run(args: Arguments, io: CommandIo): Promise<number>;
}

/** The options every command has. */
export const COMMON_OPTIONS: Readonly<Record<string, CommandOption>> = {
  json: { type: 'flag', description: 'print JSON, for programs' },
  debug: { type: 'flag', description: 'with an error, print where it came from' },
};
