import { raceWithAbort, sleep } from '../client/async-waits.js';
import { createBackoff } from '../client/backoff.js';
import { type ProgramExit, type SupervisedProcess, startProgram, toExitCode } from '../client/supervised-process.js';
import type { Clock, Random } from '../core/ports.js';
import type { ProgramChange } from './program-reporter.js';

/** How to run a program, and who must know of it. */
export interface SupervisionOptions {
  /** The program and its arguments. */
  readonly program: readonly string[];
  /** Whether it is started again when it ends by itself. */
  readonly restart: boolean;
  /** How long it may take to end when it is told to, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** Called when it has been started; what is returned is called as soon as it has ended. */
  readonly onStart: () => () => void;
  /** Called before it is told to end, which waits for this. */
  readonly onStop: () => Promise<void>;
  readonly onChange: (change: ProgramChange) => void;
  /** Aborted to end it; the reason is the signal that it is told so by. */
  readonly stop: AbortSignal;
  /** Aborted to end it at once. */
  readonly forceQuit: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
}

/** What other signals to this process are: they are meant for the program, which may reload or show its state. */
const PASSED_ON = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const;

/** A program that ran this long was a success: when it ends, the waits begin with short ones again. */
const STEADY_AFTER_MS = 30_000;

/** Runs a program until it has ended for good; resolves to its exit code. Nothing that it started is left then. */
export async function runSupervised(supervision: SupervisionOptions): Promise<number> {
  const { program, restart, onChange, stop, clock, random } = supervision;
  const [name = ''] = program;
  stop.throwIfAborted();
  const backoff = createBackoff(random);
  let running: SupervisedProcess | undefined;
  const passOn = (signal: NodeJS.Signals): void => running?.signal(signal);
  for (const signal of PASSED_ON) process.on(signal, passOn);
  try {
    for (;;) {
      running = await startProgram(program, clock);
      const startedAtMs = clock.nowMs();
      const end = await runToEnd(running, name, supervision);
      running = undefined;
      if (clock.nowMs() - startedAtMs >= STEADY_AFTER_MS) backoff.reset();
      if (stop.aborted) return toExitCode(end);
      const retryInMs = restart ? backoff.nextDelayMs() : undefined;
      onChange({ kind: 'ended', program: name, end, retryInMs });
      if (retryInMs === undefined) return toExitCode(end);
      await sleep(clock, retryInMs, stop);
      if (stop.aborted) return toExitCode(end);
    }
  } finally {
    for (const signal of PASSED_ON) process.removeListener(signal, passOn);
  }
}

/** Waits until a program ends by itself or is to be stopped, and then for the end of all that it started. */
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
    if (isStopped) await onStop();
    const isDrained = await running.end(isStopped ? stop.reason : 'SIGTERM', drainTimeoutMs);
    if (!isDrained) onChange({ kind: 'killed', program: name, afterMs: drainTimeoutMs });
    return await ended;
  } finally {
    forceQuit.removeEventListener('abort', running.kill);
  }
}
