import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { guardProcessGroup, isGroupAlive, signalGroup } from './process-group.js';

/** How a program ended: by itself with an exit code, or by a signal. */
export type ProgramExit =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: NodeJS.Signals };

/** How often it is looked whether anything of a program is left. */
const LOOK_EVERY_MS = 50;

/**
 * Starts a program, given as its words, with our standard input and outputs. Throws `program_not_found` or
 * `program_not_executable`.
 */
export function startProgram(words: readonly string[], clock: Clock): Promise<SupervisedProcess> {
  const [file = '', ...args] = words;
  return new Promise((resolve, reject) => {
    // A group of its own, which a terminal's Ctrl-C does not reach: the program is to hear of it from us, and once.
    const child = spawn(file, args, { stdio: 'inherit', detached: true });
    child.once('spawn', () => resolve(new SupervisedProcess(child, clock)));
    child.once('error', (error) => reject(notStarted(file, error)));
  });
}

/** A program that runs, with all that it started: they form a process group, and are signalled and ended together. */
export class SupervisedProcess {
  /** Resolves when the program has ended; what it started may still run. */
  readonly ended: Promise<ProgramExit>;
  /** The process group, which has the program's process id. */
  readonly group: number;
  readonly #clock: Clock;
  readonly #endGuard: () => void;
  #hasEnded = false;

  constructor(child: ChildProcess, clock: Clock) {
    this.group = child.pid as number;
    this.#clock = clock;
    this.ended = new Promise((resolve) => {
      child.once('exit', (exitCode, signal) => {
        this.#hasEnded = true;
        resolve(signal ? { kind: 'signalled', signal } : { kind: 'exited', exitCode: exitCode ?? 0 });
      });
    });
    this.#endGuard = guardProcessGroup(this.group);
    process.once('exit', this.#killAll);
  }

  /** Sends a signal to all that is left of the group. */
  signal(signal: NodeJS.Signals): void {
    if (this.#isAlive()) signalGroup(this.group, signal);
  }

  /** Ends all of the group at once; so does the end of this process, whatever ends it. */
  readonly kill = (): void => this.signal('SIGKILL');

  readonly #killAll = (): void => {
    this.kill();
    this.#endGuard();
  };

  /**
   * Tells the group to end with a signal, and kills what is left of it after the limit; false: that was needed. Resolves
   * when nothing is left.
   */
  async end(signal: NodeJS.Signals, limitMs: number): Promise<boolean> {
    const deadlineAtMs = this.#clock.nowMs() + limitMs;
    this.signal(signal);
    while (this.#isAlive() && this.#clock.nowMs() < deadlineAtMs) await sleep(this.#clock, LOOK_EVERY_MS);
    const isLeft = this.#isAlive();
    this.#killAll();
    await this.ended;
    process.removeListener('exit', this.#killAll);
    return !isLeft;
  }

  #isAlive(): boolean {
    return !this.#hasEnded || isGroupAlive(this.group);
  }
}

/** The exit code that stands for an end, as shells have it: 128 and the signal's number for one by a signal. */
export function toExitCode(end: ProgramExit): number {
  return end.kind === 'exited' ? end.exitCode : 128 + constants.signals[end.signal];
}

function notStarted(file: string, error: NodeJS.ErrnoException): AnyserveError {
  const name = JSON.stringify(file);
  if (error.code === 'ENOENT') {
    const message = `there is no program ${name}; check its name, and PATH`;
    return new AnyserveError('program_not_found', message, { cause: error });
  }
  const reason = error.code === 'EACCES' ? 'it is not executable; see chmod +x' : getErrorMessage(error);
  return new AnyserveError('program_not_executable', `cannot run ${name}: ${reason}`, { cause: error });
}
