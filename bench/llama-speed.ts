/**
 * Measures how many tokens per second `anyserve worker --llama` sends to a client, with one thread, two threads and its
 * default. Run it with: npm run bench:llama -- MODEL.gguf [PROMPT]
 */
import { once } from 'node:events';
import { availableParallelism, cpus } from 'node:os';
import { Client } from '../src/index.js';
import { type Started, start } from './child-process.js';
import { getProjectPath } from './project-file.js';

const ROUNDS = 3;
const MAX_TOKENS = 150;
const CONCURRENCY = 4;

const [model, prompt = 'Once upon a time'] = process.argv.slice(2);
if (model === undefined) throw new Error('usage: npm run bench:llama -- MODEL.gguf [PROMPT]');

const binary = getProjectPath('bin/anyserve.js');

/** Starts a worker with these options, and waits for the line with its endpoint. */
function startWorker(options: readonly string[]): Promise<Started> {
  const args = ['worker', '--llama', model as string, '--port', '0', '--no-register', ...options];
  return start([process.execPath, binary, ...args], { until: /^serving on/ });
}

/** Streams one response and returns its number of tokens. */
async function generate(client: Client, seed: number): Promise<number> {
  const parameters = { seed, temperature: 0.7, max_tokens: MAX_TOKENS };
  let tokens = 0;
  for await (const part of client.inferStream('chat', { prompt: [prompt] }, { parameters, timeoutMs: 600_000 })) {
    tokens = Number(part.parameters['completion_tokens'] ?? 0);
  }
  return tokens;
}

/** Returns the tokens per second of concurrent calls. */
async function measureSpeed(client: Client, concurrency: number): Promise<number> {
  const startMs = performance.now();
  const tokens = await Promise.all(Array.from({ length: concurrency }, (_, seed) => generate(client, seed)));
  return (tokens.reduce((sum, count) => sum + count, 0) * 1000) / (performance.now() - startMs);
}

console.log(`${cpus()[0]?.model}, ${availableParallelism()} cores, Node ${process.version}`);
for (const options of [['--threads', '1'], ['--threads', '2'], []]) {
  const { child, line } = await startWorker(options);
  const client = new Client({ endpoint: line.replace('serving on ', '') });
  await generate(client, 0);
  const alone: number[] = [];
  for (let round = 0; round < ROUNDS; round++) alone.push(await measureSpeed(client, 1));
  const shown = alone.map((perSecond) => perSecond.toFixed(1)).join(', ');
  const together = (await measureSpeed(client, CONCURRENCY)).toFixed(1);
  console.log(
    `${options.join(' ') || 'default'}: ${shown} tokens/s for one call; ${together} for ${CONCURRENCY} concurrent calls`,
  );
  await client.close();
  child.kill();
  await once(child, 'exit');
}
