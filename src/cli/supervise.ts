import { raceWithAbort, sleep } from '../client/async-waits.js';
import { createBackoff } from '../client/backoff.js';
import { type ProgramExit, type SupervisedProcess, startProgram, toExitCode } from '../client/supervised-process.js';
import type { Clock, Random } from '../core/ports.js';
import type { ProgramChange } from './program-reporter.js';

/** Program to run, its callbacks and its stop signals. */
export interface SupervisionOptions {
  /** The program and its arguments. */
  readonly program: readonly string[];
  /** Whether to restart the program when it exits without being stopped. */
  readonly restart: boolean;
  /** Time for the program to exit after a stop signal, before it is killed, in ms. */
  readonly drainTimeoutMs: number;
  /** Called after the program has started. The returned function is called when it has exited. */
  readonly onStart: () => () => void;
  /** Called, and awaited while the program runs, before the program gets the stop signal. */
  readonly onStop: () => Promise<void>;
  readonly onChange: (change: ProgramChange) => void;
  /** Aborted to stop the program. The reason is the name of the signal to send. */
  readonly stop: AbortSignal;
  /** Aborted to kill the program immediately. */
  readonly forceQuit: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
}

/** Signals forwarded to the program, which can use them to reload or to print its state. */
const FORWARDED_SIGNALS = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const;

/** Minimum run time of a program that counts as a success and resets the restart backoff, in ms. */
const BACKOFF_RESET_AFTER_MS = 30_000;

/** Runs a program until it has exited for good. Resolves to its exit code. No process that it started is left then. */
export async function runSupervised(supervision: SupervisionOptions): Promise<number> {
  const { program, restart, onChange, stop, clock, random } = supervision;
  const [name = ''] = program;
  stop.throwIfAborted();
  const backoff = createBackoff(random);
  let running: SupervisedProcess | undefined;
  const forward = (signal: NodeJS.Signals): void => running?.signal(signal);
  for (const signal of FORWARDED_SIGNALS) process.on(signal, forward);
  try {
    for (;;) {
      running = await startProgram(program, clock);
      const startedAtMs = clock.nowMs();
      const end = await runToEnd(running, name, supervision);
      running = undefined;
      if (clock.nowMs() - startedAtMs >= BACKOFF_RESET_AFTER_MS) backoff.reset();
      if (stop.aborted) return toExitCode(end);
      const retryInMs = restart ? backoff.computeNextDelayMs() : undefined;
      onChange({ kind: 'ended', program: name, end, retryInMs });
      if (retryInMs === undefined) return toExitCode(end);
      await sleep(clock, retryInMs, stop);
      if (stop.aborted) return toExitCode(end);
    }
  } finally {
    for (const signal of FORWARDED_SIGNALS) process.removeListener(signal, forward);
  }
}

/** Waits until the program exits or must stop, and then until all processes that it started have exited. */
async function runToEnd(
  running: SupervisedProcess,
  name: string,
  { drainTimeoutMs, onStart, onStop, onChange, stop, forceQuit }: SupervisionOptions,
): Promise<ProgramExit> {
  forceQuit.addEventListener('abort', running.kill, { once: true });
  try {
    const ended = running.ended.finally(onStart());
    const isStopped = await raceWithAbort(
      ended.then(() => false),
      stop,
    ).catch(() => true);
    if (isStopped) await Promise.race([onStop(), ended]);
    const isDrained = await running.end(isStopped ? stop.reason : 'SIGTERM', drainTimeoutMs);
    if (!isDrained) onChange({ kind: 'killed', program: name, afterMs: drainTimeoutMs });
    return await ended;
  } finally {
    forceQuit.removeEventListener('abort', running.kill);
  }
}
