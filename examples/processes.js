// Processes whose lines are shown behind their names; what the examples run their roles in.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The binary. */
export const ANYSERVE = fileURLToPath(new URL('../bin/anyserve.js', import.meta.url));

const children = [];

// Nobody is left to show anything to, as behind `| head`, or whoever started this wants it to end.
process.stdout.on('error', leave);
process.once('SIGTERM', leave);

/** Shows a text line by line, behind a name. */
export function tell(name, text, out = process.stdout) {
  for (const line of text.split('\n')) out.write(`${name.padEnd(10)} | ${line}\n`);
}

/** Starts a Node script whose lines are shown, on the output that they came on. */
export function start(name, script, ...args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  createInterface({ input: child.stderr }).on('line', (line) => tell(name, line, process.stderr));
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => tell(name, line));
  return { child, lines };
}

/** Starts one whose output is shown as it comes, within lines, too; resolves to its exit code. */
export async function play(name, beginning, script, ...args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const behind = `${name.padEnd(10)} | `;
  process.stdout.write(behind + beginning);
  let isAtStart = false;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write((isAtStart ? behind : '') + text.replace(/\n(?=.)/gs, `\n${behind}`));
    isAtStart = text.endsWith('\n');
  });
  const [code] = await once(child, 'close');
  return code;
}

/** Waits for a line that matches; fails when the process ends before it comes. */
export function line({ child, lines }, pattern) {
  return new Promise((resolve, reject) => {
    lines.on('line', (text) => {
      const match = pattern.exec(text);
      if (match) resolve(match[1]);
    });
    child.once('exit', (code) => reject(new Error(`a process ended with ${code} before it was ready`)));
  });
}

/**
 * Ends what still runs. The last comes first, so that workers leave the list in good order before the API server; as by
 * Ctrl-C, because nobody is left who would call them after SIGTERM.
 */
export async function stopAll() {
  for (const child of children.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGINT');
    await once(child, 'exit');
  }
}

async function leave() {
  await stopAll();
  process.exit(1);
}
