/**
 * How fast `anyserve worker --llama` writes, from the binary to a client, with one thread, two and as many as it takes
 * by itself. Run it with: npm run bench:llama -- MODEL.gguf [PROMPT]
 */
import { once } from 'node:events';
import { availableParallelism, cpus } from 'node:os';
import { Client } from '../src/index.js';
import { type Started, start } from './child-process.js';
import { projectFile } from './project-file.js';

const ROUNDS = 3;
const MOST_TOKENS = 150;
const AT_ONCE = 4;

const [model, prompt = 'Once upon a time'] = process.argv.slice(2);
if (model === undefined) throw new Error('give a GGUF file');

const binary = projectFile('bin/anyserve.js');

/** A worker with these options, which says where it serves. */
function startWorker(options: readonly string[]): Promise<Started> {
  const args = ['worker', '--llama', model as string, '--port', '0', '--no-register', ...options];
  return start([process.execPath, binary, ...args], { until: /^serving on/ });
}

/** Streams one answer; how many tokens it had. */
async function write(client: Client, seed: number): Promise<number> {
  const parameters = { seed, temperature: 0.7, max_tokens: MOST_TOKENS };
  let tokens = 0;
  for await (const part of client.inferStream('chat', { prompt: [prompt] }, { parameters, timeoutMs: 600_000 })) {
    tokens = Number(part.parameters['completion_tokens'] ?? 0);
  }
  return tokens;
}

/** Tokens a second of what is written at once. */
async function speed(client: Client, atOnce: number): Promise<number> {
  const startMs = performance.now();
  const tokens = await Promise.all(Array.from({ length: atOnce }, (_, seed) => write(client, seed)));
  return (tokens.reduce((sum, count) => sum + count, 0) * 1000) / (performance.now() - startMs);
}

console.log(`${cpus()[0]?.model}, ${availableParallelism()} cores, Node ${process.version}`);
for (const options of [['--threads', '1'], ['--threads', '2'], []]) {
  const { child, line } = await startWorker(options);
  const client = new Client({ endpoint: line.replace('serving on ', '') });
  await write(client, 0);
  const alone: number[] = [];
  for (let round = 0; round < ROUNDS; round++) alone.push(await speed(client, 1));
  const shown = alone.map((perSecond) => perSecond.toFixed(1)).join(', ');
  const together = (await speed(client, AT_ONCE)).toFixed(1);
  console.log(`${options.join(' ') || 'default'}: ${shown} tokens/s alone; ${together} for ${AT_ONCE} at once`);
  await client.close();
  child.kill();
  await once(child, 'exit');
}
