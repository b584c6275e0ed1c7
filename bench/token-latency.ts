/**
 * What a worker in front of an OpenAI-compatible server adds to each token: the same stream, token by token, read
 * straight from the server and through the worker, in turns. The server writes into each token when it was sent, on
 * the clock that all processes of a machine share.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, get, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism, cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createParser } from 'eventsource-parser';
import { Client, textsFromTensor } from '../src/index.js';

const ROUNDS = 15;
const TOKENS = 200;
const PAUSE_MS = 5;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const nowUs = (): number => Number(process.hrtime.bigint() / 1000n);
const isUpstream = process.argv[2] === 'upstream';

/** Sends the time as a token every few milliseconds, as an engine would a word. */
async function answer(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const write = (choice: object): void =>
    void response.write(`data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [choice] })}\n\n`);
  for (let sent = 0; sent < TOKENS; sent++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    write({ index: 0, delta: { content: `${nowUs()} ` }, finish_reason: null });
  }
  write({ index: 0, delta: {}, finish_reason: 'stop' });
  response.end('data: [DONE]\n\n');
}

function serveUpstream(): void {
  const server = createServer((message, response) => {
    message.resume();
    if (message.url === '/v1/chat/completions') void answer(response);
    else response.end(JSON.stringify({ data: [{ id: 'clock' }] }));
  });
  server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`));
}

const children: ChildProcess[] = [];

/** Starts a process, and waits until a line of it matches. */
function started(pattern: RegExp, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${args[0]} ended with ${code}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const found = pattern.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
  });
}

/** The delay of each token, in microseconds. */
async function direct(url: string): Promise<number[]> {
  const delays: number[] = [];
  const parser = createParser({
    onEvent({ data }) {
      if (data === '[DONE]') return;
      const content = JSON.parse(data).choices[0].delta.content;
      if (content) delays.push(nowUs() - Number(content));
    },
  });
  const sent = request(`${url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' } });
  sent.end(JSON.stringify({ model: 'clock', stream: true, messages: [{ role: 'user', content: 'go' }] }));
  const [response] = await once(sent, 'response');
  for await (const chunk of response.setEncoding('utf8')) parser.feed(chunk);
  return delays;
}

async function throughWorker(client: Client): Promise<number[]> {
  const delays: number[] = [];
  for await (const { outputs } of client.inferStream('clock', { prompt: ['go'] })) {
    const content = outputs['text'] && textsFromTensor(outputs['text'])[0];
    if (content) delays.push(nowUs() - Number(content));
  }
  return delays;
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
}

async function measure(): Promise<void> {
  const url = await started(/^(http\S+)/, '--import', 'tsx', here('token-latency.ts'), 'upstream');
  get(`${url}/models`).on('response', (response) => response.resume());
  const options = ['--openai', url, '--port', '0', '--no-register'];
  const endpoint = await started(/^serving on (\S+)/, here('../bin/anyserve.js'), 'worker', ...options);
  const client = new Client({ endpoint });
  // Once each before it counts, so that what is compiled on the way is compiled.
  await direct(url);
  await throughWorker(client);
  const delays = { direct: [] as number[], throughWorker: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    delays.direct.push(...(await direct(url)));
    delays.throughWorker.push(...(await throughWorker(client)));
  }
  await client.close();
  const row = (values: readonly number[]) => ({
    tokens: values.length,
    medianMs: quantile(values, 0.5) / 1000,
    p99Ms: quantile(values, 0.99) / 1000,
  });
  const [straight, through] = [row(delays.direct), row(delays.throughWorker)];
  console.table({ 'straight from the server': straight, 'through the worker': through });
  console.log(
    JSON.stringify({
      node: process.version,
      cpu: cpus()[0]?.model,
      cores: availableParallelism(),
      addedMedianMs: Number((through.medianMs - straight.medianMs).toFixed(3)),
      straight,
      through,
    }),
  );
}

if (isUpstream) serveUpstream();
else {
  try {
    await measure();
  } finally {
    for (const child of children) child.kill();
  }
}
