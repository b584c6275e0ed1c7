import { escapeControls } from '../core/control-characters.js';
import { AnyserveError, getErrorMessage, isAnyserveError } from '../core/errors.js';
import { formatStack } from '../core/stack-trace.js';
import { clock, getEnvironment } from '../system.js';
import { isFlagSet, parseArguments, splitAtDashes } from './arguments.js';
import type { CommandIo } from './command.js';
import { reportFailure } from './output.js';
import { getShutdownExitCode } from './shutdown-signals.js';
import { getHelpColumns } from './terminal-width.js';

/** How long what goes on may take to end by itself. */
const LAST_WORDS_MS = 250;

/** Runs the command line of this process; resolves to its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const { stdout, stderr } = process;
  const interrupted = new AbortController();
  const forceQuit = new AbortController();
  const stdoutClosed = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => (interrupted.signal.aborted ? forceQuit : interrupted).abort(signal));
  }
  let writeError: NodeJS.ErrnoException | undefined;
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    stdoutClosed.abort(error);
    // A reader that has seen enough, such as `head`, is no error.
    if (error.code === 'EPIPE' || writeError) return;
    writeError = error;
    stderr.write(`anyserve: cannot write to standard output: ${escapeControls(getErrorMessage(error))}\n`);
    process.exitCode = 1;
  });
  // Nobody is left to tell, and whoever keeps a lease goes on keeping it.
  stderr.on('error', () => {});
  const signals = { interrupted: interrupted.signal, forceQuit: forceQuit.signal, stdoutClosed: stdoutClosed.signal };
  forceQuit.signal.addEventListener('abort', () => endAnyway(getShutdownExitCode(interrupted.signal)), { once: true });
  const io = {
    // Opened by what reads it, and by nothing else.
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    env: getEnvironment(),
    ...signals,
  };
  const exitCode = await unlessStuck(runCommandLine(argv, io), io);
  // A reader may be slow, and what it has not taken yet is lost with the process.
  await Promise.race([written(stdout), aborted(stdoutClosed.signal), aborted(forceQuit.signal)]);
  const lastCode = writeError ? 1 : exitCode;
  endAnyway(lastCode);
  return lastCode;
}

/**
 * Runs a command line, unless nothing is left that could go on before it has ended: a worker's module that waits for
 * what never comes while it loads would end the process without a word.
 */
async function unlessStuck(running: Promise<number>, { stderr }: CommandIo): Promise<number> {
  let tell = (): void => {};
  const stuck = new Promise<number>((resolve) => {
    tell = () => {
      stderr.write('anyserve: nothing is left to wait for; does the module wait for something that never comes?\n');
      resolve(new AnyserveError('failed', '').exitCode);
    };
  });
  process.once('beforeExit', tell);
  const exitCode = await Promise.race([running, stuck]);
  process.removeListener('beforeExit', tell);
  return exitCode;
}

function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/**
 * Ends the process soon even if something in it goes on: a timer of a user's module, a standard input that stays open.
 * Whoever waits for us is not kept waiting for those.
 */
function endAnyway(exitCode: number): void {
  clock.schedule(LAST_WORDS_MS, () => process.exit(exitCode), { background: true });
}

/** Runs a command line in a given world. Every failure becomes one line on stderr and its exit code. */
export async function runCommandLine(argv: readonly string[], io: CommandIo): Promise<number> {
  if (isCompletion(argv)) return (await import('./print-completions.js')).printCompletions(argv, io);
  try {
    const invocation = await parseArguments(argv, io.env, getHelpColumns(io.stdout, io.env));
    if (invocation.kind === 'run') return await invocation.command.run(invocation.args, io);
    io.stdout.write(invocation.text);
    return 0;
  } catch (error) {
    if (error === io.stdoutClosed.reason) return 0;
    const failure = failureFrom(error, io.interrupted);
    const stack = wants('debug', argv, io.env) ? formatStack(error) : undefined;
    reportFailure(failure, io, { json: wants('json', argv, io.env), stack });
    return failure.exitCode;
  }
}

/** Whether a completion script asks. Its words are somebody's unfinished command line, which is not to be parsed. */
function isCompletion([first]: readonly string[]): boolean {
  return first === '__complete' || first === '--get-yargs-completions';
}

function failureFrom(error: unknown, interrupted: AbortSignal): AnyserveError {
  if (isAnyserveError(error)) return error;
  if (interrupted.aborted) return new AnyserveError('interrupted', 'interrupted');
  return new AnyserveError('failed', getErrorMessage(error), { cause: error });
}

/** Whether a flag that every command has is given. Looked for in the words, because they may be what is wrong. */
function wants(flag: 'debug' | 'json', argv: readonly string[], env: CommandIo['env']): boolean {
  const { own } = splitAtDashes(argv);
  return (
    own.includes(`--${flag}`) || own.includes(`--${flag}=true`) || isFlagSet(env[`ANYSERVE_${flag.toUpperCase()}`])
  );
}
