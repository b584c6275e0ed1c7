/**
 * Runs a session with the built command line and draws it as docs/images/terminal-session.svg. Everything below a prompt is
 * real output. Ports are free ones of this machine; the drawing shows those that a reader would use.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

const BINARY = fileURLToPath(new URL('../../bin/anyserve.js', import.meta.url));
const DRAWING = fileURLToPath(new URL('terminal-session.svg', import.meta.url));
const TIMEOUT_MS = 20_000;

/** The session. A command that ends with "&" stays; `lines` is how many lines of output to wait for. */
const SESSION = [
  { command: 'anyserve serve &', lines: 1 },
  { command: 'anyserve worker --backend echo --cap model=qwen2,gpu=h100 --id gpu1 &', port: 50051, lines: 2 },
  { command: 'anyserve worker --backend echo --cap model=qwen2,gpu=a100 --id gpu2 &', port: 50052, lines: 2 },
  { command: 'anyserve registry' },
  { command: 'anyserve route model=qwen2 gpu=h100' },
  { command: 'anyserve infer qwen2 --prompt "Hello"' },
  { command: 'kill -9 %2', job: 2 },
  { command: 'anyserve registry' },
  { command: 'anyserve route model=qwen2 gpu=h100' },
];

/** Returns a port of loopback that nothing listens on. */
function findFreePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const ports = new Map();
for (const port of [8080, 50051, 50052]) ports.set(String(port), String(await findFreePort()));
const env = { ...process.env, ANYSERVE_SERVER: `http://localhost:${ports.get('8080')}`, COLUMNS: '96' };

/** Replaces the ports of this run with those that the drawing shows. */
const toShownPorts = (text) => [...ports].reduce((changed, [shown, real]) => changed.replaceAll(real, shown), text);

/** Splits a command line at spaces, except inside double quotes. */
const splitWords = (text) => text.match(/"[^"]*"|\S+/g).map((word) => word.replaceAll('"', ''));

const jobs = [];

/** Runs one command, and returns its output once it has ended, or has printed the lines that it is expected to print. */
function runStep({ command, lines, port }) {
  const [, name, ...rest] = splitWords(command.replace(/ &$/, ''));
  if (name === 'serve') rest.push('--port', ports.get('8080'));
  if (port !== undefined) rest.push('--port', ports.get(String(port)));
  const child = spawn(process.execPath, [BINARY, name, ...rest], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  if (lines !== undefined) jobs.push(child);
  return new Promise((resolve, reject) => {
    let output = '';
    const timer = setTimeout(
      () => reject(new Error(`"${command}" did not finish in time; so far: ${output}`)),
      TIMEOUT_MS,
    );
    const finish = () => {
      clearTimeout(timer);
      resolve(output);
    };
    const collect = (chunk) => {
      output += chunk;
      if (lines !== undefined && output.split('\n').length > lines) finish();
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.once('close', finish);
  });
}

/** Kills a job as the shell's `kill -9 %N` does, and returns once it has ended. */
function killJob(number) {
  const child = jobs[number - 1];
  return new Promise((resolve) => {
    child.once('close', () => resolve(''));
    child.kill('SIGKILL');
  });
}

/** The lines of the session, each with its kind. */
async function recordSession() {
  const recorded = [];
  for (const step of SESSION) {
    // A job that stays goes on printing (the API server logs registrations); only its first lines are drawn.
    const output = step.job === undefined ? await runStep(step) : await killJob(step.job);
    recorded.push({ kind: 'command', text: step.command });
    const outputLines = toShownPorts(output).trimEnd().split('\n').slice(0, step.lines);
    for (const text of outputLines) if (text !== '') recorded.push({ kind: 'output', text });
  }
  return recorded;
}

/** Escapes text for SVG. Runs of spaces become no-break spaces, because not every renderer keeps them otherwise. */
const escapeXml = (text) =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/ {2,}/g, (spaces) => '\u00a0'.repeat(spaces.length));

/** Draws the lines as a terminal window. */
function drawSvg(recorded) {
  const lineHeight = 20;
  const top = 62;
  const height = top + recorded.length * lineHeight + 8;
  const drawn = recorded.map(({ kind, text }, index) => {
    const prompt = kind === 'command' ? '<tspan class="prompt">$ </tspan>' : '';
    return `  <text class="${kind}" x="20" y="${top + index * lineHeight}">${prompt}${escapeXml(text)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 ${height}" role="img" aria-labelledby="title">
  <title id="title">A terminal session: an API server, two workers, a query and a call; then one worker is killed</title>
  <style>
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13.5px; }
    .command { fill: #f0f6fc; font-weight: 600; }
    .output { fill: #9fb3c8; }
    .prompt { fill: #3fb950; }
  </style>
  <rect width="840" height="${height}" rx="10" fill="#0d1117"/>
  <circle cx="22" cy="20" r="6" fill="#ff5f57"/>
  <circle cx="42" cy="20" r="6" fill="#febc2e"/>
  <circle cx="62" cy="20" r="6" fill="#28c840"/>
${drawn.join('\n')}
</svg>
`;
}

try {
  writeFileSync(DRAWING, drawSvg(await recordSession()));
} finally {
  for (const child of jobs) child.kill('SIGKILL');
}
