// An API server, two workers and a client, each a process of its own. Starts them, shows the answers, and ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const anyserve = here('../../bin/anyserve.js');
const children = [];

/** Starts a process whose lines are shown behind its name. */
function start(name, script, ...args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => console.log(`${name.padEnd(10)} | ${line}`));
  return { child, lines };
}

/** Waits for a line that matches; fails when the process ends before it comes. */
function line({ child, lines }, pattern) {
  return new Promise((resolve, reject) => {
    lines.on('line', (text) => {
      const match = pattern.exec(text);
      if (match) resolve(match[1]);
    });
    child.once('exit', (code) => reject(new Error(`a process ended with ${code} before it was ready`)));
  });
}

try {
  const server = await line(start('api server', anyserve, 'serve', '--port', '0'), /listening on (\S+)/);
  const workers = ['worker1', 'worker2'].map((name) =>
    start(name, anyserve, 'worker', here(`${name}.js`), '--id', name, '--port', '0', '--server', server),
  );
  await Promise.all(workers.map((worker) => line(worker, /^(registered)/)));
  const { child } = start('registry', anyserve, 'registry', '--server', server);
  await once(child, 'close');
  const client = start('client', here('client.js'), server);
  const [code] = await once(client.child, 'close');
  process.exitCode = code;
} finally {
  // The workers first, so that they leave the list in good order; then the API server.
  for (const child of children.reverse()) {
    if (child.exitCode !== null) continue;
    child.kill();
    await once(child, 'exit');
  }
}
