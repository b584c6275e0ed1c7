// Runs the roles of the examples as processes, and prints each line of their output after a name.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The path of the command line's binary. */
export const ANYSERVE = fileURLToPath(new URL('../bin/anyserve.js', import.meta.url));

const children = [];

// Output fails when its reader has gone, as with `| head`.
process.stdout.on('error', abort);
process.once('SIGTERM', abort);

/** Prints a string line by line, each after a name. */
export function printLines(name, text, out = process.stdout) {
  for (const line of text.split('\n')) out.write(`${name.padEnd(10)} | ${line}\n`);
}

/** Starts a Node.js script and prints its lines, stdout to stdout and stderr to stderr. */
export function startProcess(name, script, ...args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  createInterface({ input: child.stderr }).on('line', (line) => printLines(name, line, process.stderr));
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => printLines(name, line));
  return { child, lines };
}

/** Runs a script and prints its output as it arrives, also within a line. Resolves to its exit code. */
export async function streamProcess(name, beginning, script, ...args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const prefix = `${name.padEnd(10)} | `;
  process.stdout.write(prefix + beginning);
  let isAtStart = false;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write((isAtStart ? prefix : '') + text.replace(/\n(?=.)/gs, `\n${prefix}`));
    isAtStart = text.endsWith('\n');
  });
  const [code] = await once(child, 'close');
  return code;
}

/** Waits for a line that matches a pattern, and resolves to its first group. Rejects if the process ends first. */
export function waitForLine({ child, lines }, pattern) {
  return new Promise((resolve, reject) => {
    lines.on('line', (text) => {
      const match = pattern.exec(text);
      if (match) resolve(match[1]);
    });
    child.once('exit', (code) => reject(new Error(`a process ended with ${code} before it was ready`)));
  });
}

/**
 * Stops the processes that still run, the last one first, so that workers leave the list before the API server stops. Uses
 * SIGINT, because after SIGTERM a worker would accept calls for 5 s more.
 */
export async function stopAll() {
  for (const child of children.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGINT');
    await once(child, 'exit');
  }
}

async function abort() {
  await stopAll();
  process.exit(1);
}
