import { setMaxListeners } from 'node:events';
import { escapeControls } from '../core/control-characters.js';
import { AnyserveError, formatStack, getErrorMessage, isAnyserveError } from '../core/errors.js';
import { clock, getEnvironment } from '../system.js';
import { isFlagSet, nameVariables, parseArguments, splitAtDashes } from './arguments.js';
import { type Arguments, type CommandIo, getShutdownExitCode } from './command.js';
import { LogLines } from './log-lines.js';
import { reportFailure } from './output.js';
import { getHelpColumns } from './terminal-width.js';

/** Time from the end of a command until the process is forced to exit, in ms. */
const FORCED_EXIT_DELAY_MS = 250;

/** Runs the command line of this process. Resolves to the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { stdout, stderr } = process;
  const interrupted = new AbortController();
  // A command can do any number of things at the same time that this signal ends.
  setMaxListeners(0, interrupted.signal);
  const forceQuit = new AbortController();
  const stdoutClosed = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => (interrupted.signal.aborted ? forceQuit : interrupted).abort(signal));
  }
  let writeError: NodeJS.ErrnoException | undefined;
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    stdoutClosed.abort(error);
    // EPIPE isn't an error: a reader such as `head` has closed the pipe.
    if (error.code === 'EPIPE' || writeError) return;
    writeError = error;
    stderr.write(`anyserve: cannot write to standard output: ${escapeControls(getErrorMessage(error))}\n`);
    process.exitCode = 1;
  });
  // Errors of stderr are ignored: they can't be reported, and a command that keeps a lease must go on.
  stderr.on('error', () => {});
  const signals = { interrupted: interrupted.signal, forceQuit: forceQuit.signal, stdoutClosed: stdoutClosed.signal };
  forceQuit.signal.addEventListener('abort', () => scheduleExit(getShutdownExitCode(interrupted.signal)), {
    once: true,
  });
  const io = {
    // A getter, because accessing process.stdin opens it. Only commands that read it should.
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    env: getEnvironment(),
    ...signals,
  };
  const exitCode = await failIfStalled(runCommandLine(argv, io), io);
  // Output that a slow reader hasn't consumed yet would be lost when the process exits.
  await Promise.race([waitForFlush(stdout), waitForAbort(stdoutClosed.signal), waitForAbort(forceQuit.signal)]);
  const finalExitCode = writeError ? 1 : exitCode;
  scheduleExit(finalExitCode);
  return finalExitCode;
}

/**
 * Waits for a command, and reports a failure when the event loop is empty before the command has finished. A worker's
 * module that awaits a promise that never settles would otherwise end the process silently.
 */
async function failIfStalled(running: Promise<number>, { stderr }: CommandIo): Promise<number> {
  let reportStall = (): void => {};
  const stalled = new Promise<number>((resolve) => {
    reportStall = () => {
      stderr.write(
        'anyserve: the process has nothing left to do; does the module await a promise that never settles?\n',
      );
      resolve(new AnyserveError('failed', '').exitCode);
    };
  });
  process.once('beforeExit', reportStall);
  const exitCode = await Promise.race([running, stalled]);
  process.removeListener('beforeExit', reportStall);
  return exitCode;
}

function waitForFlush(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

function waitForAbort(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/**
 * Schedules the exit of the process. Otherwise a timer of a user's module, or an open stdin, could keep it alive after its
 * command has finished.
 */
function scheduleExit(exitCode: number): void {
  clock.schedule(FORCED_EXIT_DELAY_MS, () => process.exit(exitCode), { background: true });
}

/** Runs a command line. A failure is reported in one line on stderr, and determines the exit code. */
export async function runCommandLine(argv: readonly string[], io: CommandIo): Promise<number> {
  if (isCompletionRequest(argv)) return (await import('./print-completions.js')).printCompletions(argv, io);
  let args: Arguments | undefined;
  try {
    const invocation = await parseArguments(argv, io.env, getHelpColumns(io.stdout, io.env));
    if (invocation.kind === 'run') {
      args = invocation.args;
      return await invocation.command.run(args, io);
    }
    io.stdout.write(invocation.text);
    return 0;
  } catch (error) {
    if (error === io.stdoutClosed.reason) return 0;
    const reported = toFailure(error, io.interrupted);
    const failure = args ? nameVariables(reported, args, io.env) : reported;
    const stack = hasCommonFlag('debug', argv, io.env) ? formatStack(error) : undefined;
    if (args?.getText('log-format') === 'json') {
      const { code, message } = failure;
      io.stderr.write(new LogLines(io).formatJson('error', { event: 'failed', code, message, stack }));
    } else reportFailure(failure, io, { json: hasCommonFlag('json', argv, io.env), stack });
    return failure.exitCode;
  }
}

/** Returns whether a completion script runs this process. Its unfinished command line must not be parsed. */
function isCompletionRequest([first]: readonly string[]): boolean {
  return first === '__complete' || first === '--get-yargs-completions';
}

function toFailure(error: unknown, interrupted: AbortSignal): AnyserveError {
  if (isAnyserveError(error)) return error;
  if (interrupted.aborted) return new AnyserveError('interrupted', 'interrupted');
  return new AnyserveError('failed', getErrorMessage(error), { cause: error });
}

/** Returns whether a common flag is set. Reads the raw words, because parsing them can be what failed. */
function hasCommonFlag(flag: 'debug' | 'json', argv: readonly string[], env: CommandIo['env']): boolean {
  const { before } = splitAtDashes(argv);
  return (
    before.includes(`--${flag}`) ||
    before.includes(`--${flag}=true`) ||
    isFlagSet(env[`ANYSERVE_${flag.toUpperCase()}`])
  );
}
