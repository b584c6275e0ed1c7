/**
 * Keeps what V8 makes of the bundle: runs the short commands against an API server and a worker of this process, and then
 * writes down the code of all functions that ran. Run by the build, after the bundle is made.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { App, startApiServer, startWorker } from '../dist/index.js';

/** Within this process it takes a few milliseconds. */
const REGISTERED_WITHIN_MS = 30_000;

const { CODE, load, loaded } = createRequire(import.meta.url)('../bin/compiled.js');

const api = await startApiServer({ port: 0 });
const echo = new App().capability({ type: 'echo' }, (inputs) => inputs);
const worker = await startWorker({ backends: [echo], port: 0, servers: [api.url], id: 'warm' });
const deadlineAtMs = Date.now() + REGISTERED_WITHIN_MS;
while ((await (await fetch(`${api.url}/registry`)).json()).replicas.length === 0) {
  if (Date.now() > deadlineAtMs)
    throw new Error(`no worker is registered after ${REGISTERED_WITHIN_MS} ms; the commands run here ask for one`);
  await pause(5);
}

const { runCommandLine } = load('main.cjs');
const never = new AbortController().signal;
const io = {
  stdin: Readable.from([]),
  stdout: new Writable({ write: (_chunk, _encoding, done) => done() }),
  stderr: process.stderr,
  env: { ANYSERVE_SERVER: api.url },
  interrupted: never,
  insisted: never,
  unread: never,
};
for (const line of [
  '--help',
  'route type=echo',
  'registry',
  'infer echo --prompt x',
  'infer echo --input x=[1] --json',
]) {
  const exitCode = await runCommandLine(line.split(' '), io);
  if (exitCode !== 0) throw new Error(`anyserve ${line} ended with ${exitCode}`);
}
await worker.stop();
await api.close();

mkdirSync(CODE);
for (const [name, { script }] of loaded) writeFileSync(join(CODE, name), script.createCachedData());
