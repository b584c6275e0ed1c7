import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from './until.js';

/** Path of the built binary. */
export const BINARY = fileURLToPath(new URL('../../bin/anyserve.js', import.meta.url));

/** Exit code and output of a command. `code` is null when a signal ended it. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running process and its output so far. */
export interface Running {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Waits until stdout matches, and returns the first group. Rejects after 30 s. */
  waitForOutput(pattern: RegExp): Promise<string>;
  /** Sends a signal and waits until the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<Outcome>;
  readonly ended: Promise<Outcome>;
}

const running = new Set<ChildProcess>();

/** Options of {@link start}. */
export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly binary?: string;
  /** A command that runs the command line that follows it: `ip netns exec NAME`. */
  readonly through?: readonly string[];
}

/**
 * Starts the binary. By default, drains end at once and a new API server doesn't wait for its replicas to come back; `env`
 * can override both.
 */
export function start(args: readonly string[], { binary = BINARY, env, ...options }: StartOptions = {}): Running {
  const quick = { ANYSERVE_DRAIN_DELAY: '1ms', ANYSERVE_DRAIN: '0', ANYSERVE_WARMING: '0' };
  return startProgram([process.execPath, binary, ...args], { ...options, env: { ...quick, ...env } });
}

/** Starts any program. */
export function startProgram(
  commandLine: readonly string[],
  { env = {}, cwd, through = [] }: Omit<StartOptions, 'binary'> = {},
): Running {
  const [command = '', ...args] = [...through, ...commandLine];
  return follow(spawn(command, args, { cwd, env: { ...cleanEnv(), ...env } }));
}

/** Python program that runs a command in a new pseudo-terminal and copies between that and its own stdin and stdout. */
const IN_A_TERMINAL = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';

/** Starts the binary in a terminal. Writing to its stdin types; its stdout is the output to the screen. */
export function startAtTerminal(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  return startProgramAtTerminal([process.execPath, BINARY, ...args], env);
}

/** Starts any program in a terminal, as {@link startAtTerminal} does. */
export function startProgramAtTerminal(commandLine: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const terminal = { ...cleanEnv(), TERM: 'xterm', NO_COLOR: '1', ...env };
  return follow(spawn('python3', ['-c', IN_A_TERMINAL, ...commandLine], { env: terminal }));
}

function follow(child: ChildProcessWithoutNullStreams): Running {
  running.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<Outcome>((resolve) =>
    child.once('close', (code) => {
      running.delete(child);
      resolve({ code, stdout, stderr });
    }),
  );
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    async waitForOutput(pattern) {
      await until(
        () => `it prints ${pattern}; so far: ${stdout}${stderr}`,
        () => pattern.test(stdout),
      );
      return pattern.exec(stdout)?.[1] ?? '';
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
}

/** Runs the binary until it ends. */
export async function run(
  args: readonly string[],
  { input, ...options }: { input?: string | Buffer; env?: NodeJS.ProcessEnv; binary?: string } = {},
): Promise<Outcome> {
  const process = start(args, options);
  process.child.stdin?.end(input);
  return process.ended;
}

/** Kills all processes that a test left running. Call it in the teardown. */
export async function stopAll(): Promise<void> {
  const left = [...running];
  for (const child of left) child.kill('SIGKILL');
  await Promise.all(
    left.map(
      (child) =>
        new Promise((resolve) =>
          child.exitCode !== null || child.signalCode ? resolve(0) : child.once('close', resolve),
        ),
    ),
  );
}

function cleanEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(ANYSERVE_|NO_COLOR|FORCE_COLOR)/.test(name)),
  );
}
