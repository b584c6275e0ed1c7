import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { getProjectPath } from './project-file.js';

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** A process of a benchmark, and the line that reported it ready. */
export interface Started {
  readonly child: ChildProcess;
  readonly line: string;
}

/** Options of {@link start}. */
export interface StartOptions {
  /** The only core that the process can run on. Default: any. */
  readonly core?: number;
  /** Pattern of the line to wait for. Default: any line. */
  readonly until?: RegExp;
}

/** Returns the command that runs a built file of the benchmarks, such as `lease-server`, with arguments. */
export function getBuiltCommand(name: string, ...args: string[]): [string, ...string[]] {
  return [process.execPath, '--expose-gc', getProjectPath(`bench/built/${name}.mjs`), ...args];
}

/** Starts a process and waits for a line of its stdout. The process is killed when the benchmark ends. */
export function start(
  command: readonly [string, ...string[]],
  { core, until = /^/ }: StartOptions = {},
): Promise<Started> {
  const [program, ...args] = core === undefined ? command : (['taskset', '-c', String(core), ...command] as const);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  children.add(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      children.delete(child);
      reject(new Error(`${command.join(' ')} ended with ${code ?? signal}`));
    });
    createInterface({ input: child.stdout as Readable }).on('line', (line) => {
      if (until.test(line)) resolve({ child, line });
    });
  });
}

/** Sends a question to a process that runs {@link answerQuestions}, and resolves to its answer. Rejects when the process ends first. */
export function ask<Answer>({ child }: Started, question: string, about?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const rejectEnded = (): void => reject(new Error(`the process ended before it answered "${question}"`));
    child.once('exit', rejectEnded);
    child.once('message', (answer) => {
      child.off('exit', rejectEnded);
      resolve(answer as Answer);
    });
    child.send({ question, about }, (error) => error && reject(error));
  });
}

/** Answers the questions of the parent process, one at a time. Call it in a started process. */
export function answerQuestions(answers: Readonly<Record<string, (about: never) => unknown>>): void {
  process.on('message', async ({ question, about }: { question: string; about: never }) => {
    process.send?.((await answers[question]?.(about)) ?? null);
  });
  process.on('disconnect', () => process.exit());
}
