import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** A process of a benchmark, and the line with which it said that it is ready. */
export interface Started {
  readonly child: ChildProcess;
  readonly line: string;
}

/** What a process is started with. */
export interface StartOptions {
  /** The core that it runs on, and on no other; any unless told. */
  readonly core?: number;
  /** The line that is waited for: the first one unless told. */
  readonly until?: RegExp;
}

/** Starts a process, and waits until it has written a line. It is killed when the benchmark ends. */
export function start(
  command: readonly [string, ...string[]],
  { core, until = /^/ }: StartOptions = {},
): Promise<Started> {
  const [program, ...args] = core === undefined ? command : (['taskset', '-c', String(core), ...command] as const);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      children.delete(child);
      reject(new Error(`${command.join(' ')} ended with ${code ?? signal}`));
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (until.test(line)) resolve({ child, line });
    });
  });
}
