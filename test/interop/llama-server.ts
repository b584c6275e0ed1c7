import { type ChildProcess, spawn } from 'node:child_process';
import { until } from '../support/until.js';
import { getInteropPath, PYTHON } from './python.js';

const running = new Set<ChildProcess>();

/** Starts a llama.cpp server of a model. Its key is `the-key`. Options: `embeddings`. */
export async function startLlamaServer(model: string, ...options: readonly string[]) {
  const child = spawn(PYTHON, [getInteropPath('llama_server.py'), model, ...options], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  running.add(child);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    output += chunk;
  });
  await until('llama.cpp listens', () => output.includes('listening on'), 60_000);
  return { child, url: `${/listening on (\S+)/.exec(output)?.[1]}/v1` };
}

/** Kills all llama.cpp servers. */
export function stopLlamaServers(): void {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
}
