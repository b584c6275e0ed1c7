import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { projectFile } from './project-file.js';

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

/** The command for a process that is a file of the benchmarks: `lease-server` with its arguments, as it was built. */
export function built(name: string, ...args: string[]): [string, ...string[]] {
  return [process.execPath, '--expose-gc', projectFile(`bench/built/${name}.mjs`), ...args];
}

/** Starts a process, and waits until it has written a line. It is killed when the benchmark ends. */
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

/** Asks a process that {@link answering} runs in, and resolves to what it answers; rejects when it ends before that. */
export function ask<Answer>({ child }: Started, question: string, about?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error(`the process that was asked for ${question} has ended`));
    child.once('exit', ended);
    child.once('message', (answer) => {
      child.off('exit', ended);
      resolve(answer as Answer);
    });
    child.send({ question, about }, (error) => error && reject(error));
  });
}

/** Answers in a started process what is asked of it, one question at a time. */
export function answering(answers: Readonly<Record<string, (about: never) => unknown>>): void {
  process.on('message', async ({ question, about }: { question: string; about: never }) => {
    process.send?.((await answers[question]?.(about)) ?? null);
  });
  process.on('disconnect', () => process.exit());
}
