import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { until } from './until.js';

/** The built binary. */
export const BINARY = fileURLToPath(new URL('../../bin/anyserve.js', import.meta.url));

/** How a command ended, and what it printed. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process that runs, with what it printed so far. */
export interface Running {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Waits until stdout matches; returns the first group. */
  printed(pattern: RegExp): Promise<string>;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Outcome>;
  readonly ended: Promise<Outcome>;
}

const running = new Set<ChildProcess>();

/** How a process is started. */
export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly binary?: string;
  /** A command that runs the command line behind it: `ip netns exec NAME`. */
  readonly through?: readonly string[];
}

/**
 * Starts the binary. What is told to end does so soon, and a server that has just started is not one that waits for its replicas,
 * unless told to.
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

/** Gives a program a terminal of its own, and carries between that and its pipes. */
const IN_A_TERMINAL = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';

/** Starts the binary at a terminal: what is written to its standard input is typed, and stdout is what the screen shows. */
export function startAtTerminal(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  return startProgramAtTerminal([process.execPath, BINARY, ...args], env);
}

/** Starts any program at a terminal, likewise. */
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
    async printed(pattern) {
      await until(`it prints ${pattern}; so far: ${stdout}${stderr}`, () => pattern.test(stdout), 15_000);
      return pattern.exec(stdout)?.[1] ?? '';
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
}

/** Runs the binary to its end. */
export async function run(
  args: readonly string[],
  { input, ...options }: { input?: string | Buffer; env?: NodeJS.ProcessEnv; binary?: string } = {},
): Promise<Outcome> {
  const process = start(args, options);
  process.child.stdin?.end(input);
  return process.ended;
}

/** Ends what a test left running; for its teardown. */
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
