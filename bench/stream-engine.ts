/**
 * The engine of the gateway benchmarks for streams: sends tokens, each with the time at which it was sent. A request says how many
 * (`max_tokens`) and how long the pause between two is, in ms (`seed`). A response that is
 * not a stream is half as long as its request.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readMonotonicUs } from './figures.js';

const MODEL = 'mock';

async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of request) text += piece;
  return text;
}

function createChunk(choice: object): string {
  const chunk = {
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1_700_000_000,
    model: MODEL,
    choices: [choice],
  };
  return `data: ${JSON.stringify(chunk)}\n\n`;
}

function sendTokens(response: ServerResponse, count: number, pauseMs: number): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
  let sent = 0;
  const timer = setInterval(() => {
    response.write(createChunk({ index: 0, delta: { content: `${readMonotonicUs()} ` }, finish_reason: null }));
    if (++sent < count) return;
    clearInterval(timer);
    response.write(createChunk({ index: 0, delta: {}, finish_reason: 'stop' }));
    response.end('data: [DONE]\n\n');
  }, pauseMs);
  response.on('close', () => clearInterval(timer));
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
  if (request.method === 'GET') return sendJson(response, { object: 'list', data: [{ id: MODEL, object: 'model' }] });
  const body = await readBody(request);
  const { stream, max_tokens: count = 1, seed: pauseMs = 1 } = JSON.parse(body);
  if (stream) return sendTokens(response, count, pauseMs);
  const message = { role: 'assistant', content: 'x'.repeat(body.length / 2) };
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  const choices = [{ index: 0, message, finish_reason: 'stop' }];
  sendJson(response, {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: MODEL,
    choices,
    usage,
  });
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () =>
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
);
