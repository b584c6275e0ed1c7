import type { Readable, Writable } from 'node:stream';
import { AnyserveError } from '../core/errors.js';

/** A value that shell completion offers. */
export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** Source of the values that completion offers for an option or a word. */
export interface Suggestions {
  /** All valid values. */
  readonly choices?: readonly string[];
  /** Kind of value. All but `files` are fetched from the API server: models as `llama`, capabilities as `model=llama`. */
  readonly suggests?: 'files' | 'replica ids' | 'endpoints' | 'models' | 'pair' | 'capability';
}

/** An option of a command. Its environment variable is `ANYSERVE_` and its name in capitals, with `_` for `-`. */
export interface CommandOption extends Suggestions {
  readonly type: 'text' | 'flag';
  /** One-letter form, such as `o` for `-o`. */
  readonly letter?: string;
  /** Placeholder for the value in the help, such as `PORT`. */
  readonly value?: string;
  readonly description: string;
  /** Value when neither the option nor the variable is given. The help shows it. */
  readonly default?: string;
  /** Whether the option can be repeated. Its variable then holds one value per line. */
  readonly repeatable?: boolean;
  /** Whether spaces also separate the values in the variable of a repeatable option. */
  readonly spaced?: boolean;
  /** Whether the empty string is a valid value. */
  readonly mayBeEmpty?: boolean;
  /** Whether the value can be omitted, which yields the empty string. */
  readonly mayStandAlone?: boolean;
  /** Throws `usage` for a value that is not valid. The name of the option is added to the message. */
  readonly check?: (value: string) => unknown;
}

/** Parsed arguments. Their values are not validated yet, unless their options have a `check`. */
export interface Arguments {
  /** Positional arguments. */
  readonly words: readonly string[];
  /** Words after `--`, for a command that runs a program. Undefined when there is no `--`. */
  readonly program: readonly string[] | undefined;
  /** Returns the value of an option: from the command line, else the variable, else the default. Undefined if the command lacks it. */
  getText(option: string): string | undefined;
  /** Returns all values of a repeatable option. */
  getTexts(option: string): readonly string[];
  /** Returns whether a flag is set on the command line or by its variable. */
  hasFlag(option: string): boolean;
  /** Returns whether the option is on the command line, rather than in its variable. */
  isGiven(option: string): boolean;
}

/** Input, output, environment and shutdown signals of a command. */
export interface CommandIo {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted when stdout is closed by its reader. Work that only prints can stop then. */
  readonly stdoutClosed: AbortSignal;
  /** Aborted by the first Ctrl-C or SIGTERM. The reason is the signal's name. */
  readonly interrupted: AbortSignal;
  /** Aborted by the second Ctrl-C or SIGTERM: exit immediately. */
  readonly forceQuit: AbortSignal;
}

/** A command of the binary: its help, its options and its implementation. */
export interface Command {
  readonly name: string;
  /** Text after the name in the usage line. */
  readonly usage: string;
  readonly summary: string;
  /** Working command lines, each with its meaning. */
  readonly examples: readonly (readonly [commandLine: string, meaning: string])[];
  readonly options: Readonly<Record<string, CommandOption>>;
  /** Maximum number of positional arguments. */
  readonly maxWords: number;
  /** Completion of each positional argument. The last entry applies to all further ones. */
  readonly words?: readonly Suggestions[];
  /** Whether the words after `--` are a program to run, rather than positional arguments. */
  readonly runsProgram?: boolean;
  /** Runs the command and resolves to the exit code. An error is reported in one line, with its own exit code. */
  run(args: Arguments, io: CommandIo): Promise<number>;
}

/** Options of every command. */
export const COMMON_OPTIONS: Readonly<Record<string, CommandOption>> = {
  json: { type: 'flag', description: 'print JSON' },
  debug: { type: 'flag', description: 'print the stack trace of an error' },
};

/** Waits for Ctrl-C or SIGTERM. Resolves to the exit code for a graceful shutdown. */
export function waitForShutdown({ interrupted }: Pick<CommandIo, 'interrupted'>): Promise<number> {
  return new Promise((resolve) => {
    const finish = (): void => resolve(getShutdownExitCode(interrupted));
    if (interrupted.aborted) return finish();
    interrupted.addEventListener('abort', finish, { once: true });
  });
}

/** Returns 130 after Ctrl-C, and 0 after SIGTERM, the regular way to stop a service. */
export function getShutdownExitCode(interrupted: AbortSignal): number {
  return interrupted.reason === 'SIGINT' ? new AnyserveError('interrupted', 'interrupted').exitCode : 0;
}
