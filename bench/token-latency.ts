/**
 * Measures the latency that a worker in front of an OpenAI-compatible server adds to each token. Reads the same stream
 * directly from the server and through the worker, in alternating rounds. Each token is its own send time on the clock
 * that all processes of a machine share.
 */
import { once } from 'node:events';
import { createServer, get, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createParser } from 'eventsource-parser';
import { Client, tensorToTexts } from '../src/index.js';
import { getBuiltCommand, start } from './child-process.js';
import { computeMedian, computeQuantile, readMonotonicUs, roundFigure } from './figures.js';
import { getProjectPath } from './project-file.js';
import { report } from './report.js';

const ROUNDS = 15;
const TOKENS = 200;
const PAUSE_MS = 5;

const isUpstream = process.argv[2] === 'upstream';

/** Streams a response: every 5 ms a token with the current time. */
async function streamTimes(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const write = (choice: object): void =>
    void response.write(`data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [choice] })}\n\n`);
  for (let sent = 0; sent < TOKENS; sent++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    write({ index: 0, delta: { content: `${readMonotonicUs()} ` }, finish_reason: null });
  }
  write({ index: 0, delta: {}, finish_reason: 'stop' });
  response.end('data: [DONE]\n\n');
}

function serveUpstream(): void {
  const server = createServer((message, response) => {
    message.resume();
    if (message.url === '/v1/chat/completions') void streamTimes(response);
    else response.end(JSON.stringify({ data: [{ id: 'clock' }] }));
  });
  server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`));
}

/** Reads a stream from the server, and returns the delay of each token in µs. */
async function measureDirect(url: string): Promise<number[]> {
  const delays: number[] = [];
  const parser = createParser({
    onEvent({ data }) {
      if (data === '[DONE]') return;
      const content = JSON.parse(data).choices[0].delta.content;
      if (content) delays.push(readMonotonicUs() - Number(content));
    },
  });
  const sent = request(`${url}/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' } });
  sent.end(JSON.stringify({ model: 'clock', stream: true, messages: [{ role: 'user', content: 'go' }] }));
  const [response] = await once(sent, 'response');
  for await (const chunk of response.setEncoding('utf8')) parser.feed(chunk);
  return delays;
}

/** Reads a stream through the worker, and returns the delay of each token in µs. */
async function measureThroughWorker(client: Client): Promise<number[]> {
  const delays: number[] = [];
  for await (const { outputs } of client.inferStream('clock', { prompt: ['go'] })) {
    const content = outputs['text'] && tensorToTexts(outputs['text'])[0];
    if (content) delays.push(readMonotonicUs() - Number(content));
  }
  return delays;
}

async function measure(): Promise<void> {
  const url = (await start(getBuiltCommand('token-latency', 'upstream'))).line;
  get(`${url}/models`).on('response', (response) => response.resume());
  const options = ['--openai', url, '--port', '0', '--no-register'];
  const worker = [process.execPath, getProjectPath('bin/anyserve.js'), 'worker', ...options] as const;
  const { line } = await start(worker, { until: /^serving on/ });
  const client = new Client({ endpoint: line.replace('serving on ', '') });
  // One unmeasured stream each, so that the code is compiled.
  await measureDirect(url);
  await measureThroughWorker(client);
  const delays = { direct: [] as number[], throughWorker: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    delays.direct.push(...(await measureDirect(url)));
    delays.throughWorker.push(...(await measureThroughWorker(client)));
  }
  await client.close();
  const createRow = (what: string, values: readonly number[]) => ({
    what,
    tokens: values.length,
    medianMs: roundFigure(computeMedian(values) / 1000),
    p99Ms: roundFigure(computeQuantile(values, 0.99) / 1000),
  });
  const fromServer = createRow('directly from the server', delays.direct);
  const through = createRow('through the worker', delays.throughWorker);
  const added = { what: 'added by the worker', medianMs: roundFigure(through.medianMs - fromServer.medianMs) };
  report({ name: 'token-latency', rows: [fromServer, through, added], compared: { medianMs: 'less' } });
}

if (isUpstream) serveUpstream();
else {
  await measure();
  process.exit();
}
