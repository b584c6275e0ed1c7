import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { start, stopAll } from '../support/binary.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  await stopAll();
});

const LIBRARY = new URL('../../dist/index.js', import.meta.url).href;

/** A program that makes one call, does not close its client, and prints how long it stays afterwards, in ms. */
const PROGRAM = `
  import { Client } from ${JSON.stringify(LIBRARY)};
  const client = new Client({ server: process.argv.slice(1), capability: { type: 'chat' } });
  await client.infer('chat', { prompt: 'x' });
  const calledAt = performance.now();
  process.on('exit', () => console.log(performance.now() - calledAt));
`;

async function startSilentServer(respond: RequestListener): Promise<string> {
  const server = createServer(respond);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it.each<[what: string, respond: RequestListener]>([
  ['is frozen', () => {}],
  [
    'cannot be watched and then freezes',
    ({ url }, response) => void (url === '/watch?type=chat' && response.writeHead(404).end()),
  ],
])('a process that forgets its client exits after the call when one API server %s', async (_what, respond) => {
  const server = start(['serve', '--port', '0']);
  const url = await server.waitForOutput(/listening on (\S+)/);
  const worker = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--server', url]);
  await worker.waitForOutput(/registered/);
  const args = ['--input-type=module', '--eval', PROGRAM, url, await startSilentServer(respond)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  await once(child, 'close');
  expect(child.exitCode).toBe(0);
  // The timeout for the response of the silent server is 3 s.
  expect(Number(stdout)).toBeLessThan(1500);
});
