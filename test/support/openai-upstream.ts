import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A request that the upstream received. */
export interface UpstreamRequest {
  readonly path: string;
  readonly authorization: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests read only the fields they expect
  readonly body: any;
}

/** Handles a request instead of the default behaviour. Returns undefined to use the default. */
export type UpstreamHandler = (
  request: UpstreamRequest,
  response: ServerResponse,
  message: IncomingMessage,
) => undefined | true | Promise<true>;

/** A server with OpenAI's API. Its models repeat the last message word by word. */
export interface OpenaiUpstream {
  /** Base URL, ending in /v1. */
  readonly url: string;
  readonly port: number;
  /** All POST requests so far. */
  readonly requests: readonly UpstreamRequest[];
  /** Returns the number of responses in progress. */
  open(): number;
  /** Replaces the list of models. */
  offer(models: readonly (string | object)[]): void;
  /** Methods and paths of all requests so far. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** Starts an upstream on loopback. Default port: a free one. */
export async function startOpenaiUpstream({
  port = 0,
  models = ['tiny'],
  handleRequest = () => undefined,
  headers = {},
  tls,
}: {
  port?: number;
  /** Entries of the model list; a string stands for an entry with this id. */
  models?: readonly (string | object)[];
  handleRequest?: UpstreamHandler;
  /** Headers of each response. */
  headers?: Readonly<Record<string, string>>;
  tls?: ServerOptions;
} = {}): Promise<OpenaiUpstream> {
  const requests: UpstreamRequest[] = [];
  const asked: string[] = [];
  let offered = models;
  let open = 0;

  async function respond(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const { authorization } = message.headers;
    const request = { path: message.url ?? '', authorization, body: text === '' ? undefined : JSON.parse(text) };
    asked.push(`${message.method} ${message.url}`);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (message.method === 'POST') {
      requests.push(request);
      open++;
      response.once('close', () => open--);
    }
    if (await handleRequest(request, response, message)) return;
    if (request.path === '/health') return sendJson(response, 200, { status: 'ok' });
    if (request.path === '/v1/models') {
      const data = offered.map((model) => (typeof model === 'string' ? { id: model, object: 'model' } : model));
      return sendJson(response, 200, { data });
    }
    if (request.path === '/v1/embeddings') return sendJson(response, 200, createEmbeddings(request.body.input));
    if (request.path !== '/v1/chat/completions') return sendJson(response, 404, { detail: 'Not Found' });
    const words = String(request.body.messages.at(-1).content).split(/(?<= )/);
    const usage = { prompt_tokens: request.body.messages.length, completion_tokens: words.length, total_tokens: 0 };
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    if (!request.body.stream) {
      const choice = { index: 0, message: { role: 'assistant', content: words.join('') }, finish_reason: 'stop' };
      return sendJson(response, 200, { choices: [choice], usage });
    }
    sendEvents(response, ...words.map(createTextChunk), createFinishChunk('stop'), { choices: [], usage }, '[DONE]');
  }

  const listener = (message: IncomingMessage, response: ServerResponse): void => void respond(message, response);
  const server = tls ? createTlsServer(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const { port: boundPort } = server.address() as AddressInfo;
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${boundPort}/v1`,
    port: boundPort,
    requests,
    asked,
    open: () => open,
    offer(names) {
      offered = names;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Sends a JSON response. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Returns a chunk with a piece of the text. */
export function createTextChunk(content: string): object {
  return { choices: [{ index: 0, delta: { content }, finish_reason: null }] };
}

/** Returns the chunk that ends the text. */
export function createFinishChunk(reason: string): object {
  return { choices: [{ index: 0, delta: {}, finish_reason: reason }] };
}

/** Writes events to a response, and its head first if necessary. */
export function writeEvents(response: ServerResponse, ...chunks: (object | string)[]): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for (const chunk of chunks) response.write(`data: ${typeof chunk === 'string' ? chunk : JSON.stringify(chunk)}\n\n`);
}

/** Sends a complete stream of events. */
export function sendEvents(response: ServerResponse, ...chunks: (object | string)[]): void {
  writeEvents(response, ...chunks);
  response.end();
}

function createEmbeddings(input: string | string[]): object {
  const texts = [input].flat();
  const data = texts.map((text, index) => ({ index, embedding: [text.length, index, 0.5] }));
  // Reversed: clients have to go by the index.
  return { data: data.reverse(), usage: { prompt_tokens: texts.length, total_tokens: texts.length } };
}
