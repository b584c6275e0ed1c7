import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { guardProcessGroup, isGroupAlive, signalGroup } from './process-group.js';

/** The exit of a program: with an exit code, or by a signal. */
export type ProgramExit =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: NodeJS.Signals };

/** Interval of the checks whether a process group has ended, in ms. */
const GROUP_CHECK_INTERVAL_MS = 50;

/**
 * Starts a program with our standard input and outputs. `words` are its file name and arguments. Rejects with
 * `program_not_found` or `program_not_executable`.
 */
export function startProgram(words: readonly string[], clock: Clock): Promise<SupervisedProcess> {
  const [file = '', ...args] = words;
  return new Promise((resolve, reject) => {
    // `detached` gives the program its own process group, which Ctrl-C in a terminal doesn't reach. So the program gets each
    // signal once, from us.
    const child = spawn(file, args, { stdio: 'inherit', detached: true });
    child.once('spawn', () => resolve(new SupervisedProcess(child, clock)));
    child.once('error', (error) => reject(createStartError(file, error)));
  });
}

/** A running program with all its descendants. They form a process group, and are signalled and ended together. */
export class SupervisedProcess {
  /** Resolves when the program has ended. Its descendants can still be running. */
  readonly ended: Promise<ProgramExit>;
  /** Id of the process group, which is the program's process id. */
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

  /** Sends a signal to all processes of the group that are left. */
  signal(signal: NodeJS.Signals): void {
    if (this.#isAlive()) signalGroup(this.group, signal);
  }

  /** Kills the whole group at once. The group is also killed when this process exits, for any reason. */
  readonly kill = (): void => this.signal('SIGKILL');

  readonly #killAll = (): void => {
    this.kill();
    this.#endGuard();
  };

  /**
   * Sends a signal to the group, and kills what is left of it after the timeout. Resolves when the group has ended, with
   * false if it had to be killed.
   */
  async end(signal: NodeJS.Signals, timeoutMs: number): Promise<boolean> {
    const deadlineAtMs = this.#clock.nowMs() + timeoutMs;
    this.signal(signal);
    while (this.#isAlive() && this.#clock.nowMs() < deadlineAtMs) await sleep(this.#clock, GROUP_CHECK_INTERVAL_MS);
    const isStillAlive = this.#isAlive();
    this.#killAll();
    await this.ended;
    process.removeListener('exit', this.#killAll);
    return !isStillAlive;
  }

  #isAlive(): boolean {
    return !this.#hasEnded || isGroupAlive(this.group);
  }
}

/** Converts an exit to an exit code, as shells do: 128 plus the signal's number for an exit by a signal. */
export function toExitCode(exit: ProgramExit): number {
  return exit.kind === 'exited' ? exit.exitCode : 128 + constants.signals[exit.signal];
}

function createStartError(file: string, error: NodeJS.ErrnoException): AnyserveError {
  const name = JSON.stringify(file);
  if (error.code === 'ENOENT') {
    const message = `program ${name} not found; check its name and PATH`;
    return new AnyserveError('program_not_found', message, { cause: error });
  }
  const reason = error.code === 'EACCES' ? 'it is not executable; see chmod +x' : getErrorMessage(error);
  return new AnyserveError('program_not_executable', `cannot run ${name}: ${reason}`, { cause: error });
}
