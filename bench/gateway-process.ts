/** Processes of the gateway benchmarks: programs that don't report when they are ready. */
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync } from 'node:fs';

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/** Options of {@link startUntil}. */
interface StartUntilOptions {
  /** The only core that the process can run on. */
  readonly core: number;
  /** Returns whether the process is ready. A rejection counts as no. */
  readonly isReady: () => Promise<boolean>;
  /** File that its output goes to. Default: none. */
  readonly logFile?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Time in which a program must be ready, in ms. LiteLLM takes half a minute. */
const START_TIMEOUT_MS = 120_000;

/** Starts a program and waits until it is ready. It is killed when the benchmark ends. */
export async function startUntil(
  command: readonly [string, ...string[]],
  { core, isReady, logFile = '/dev/null', env }: StartUntilOptions,
): Promise<ChildProcess> {
  const log = openSync(logFile, 'w');
  const child = spawn('taskset', ['-c', String(core), ...command], {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...env },
  });
  children.add(child);
  let end: string | undefined;
  child.once('error', (error) => {
    end = error.message;
  });
  child.once('exit', (code, signal) => {
    children.delete(child);
    end = `it ended with ${code ?? signal}`;
  });
  const giveUpAtMs = performance.now() + START_TIMEOUT_MS;
  while (!(await isReady().catch(() => false))) {
    if (performance.now() > giveUpAtMs) end = 'it was not ready in time';
    if (end !== undefined) throw new Error(`${command.join(' ')}: ${end}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return child;
}

/** Ends a process, and resolves when it has ended. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
