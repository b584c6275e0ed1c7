import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** A request as the upstream got it. */
export interface UpstreamRequest {
  readonly path: string;
  readonly authorization: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at what it expects
  readonly body: any;
}

/** What answers in place of the usual; undefined: the usual does. */
export type Answering = (
  request: UpstreamRequest,
  response: ServerResponse,
  message: IncomingMessage,
) => undefined | true | Promise<true>;

/** A server that speaks as OpenAI's does: its models say the last message back, word by word. */
export interface OpenaiUpstream {
  /** The base URL, ending in /v1. */
  readonly url: string;
  readonly port: number;
  /** What was asked of it but for its health and its list of models. */
  readonly requests: readonly UpstreamRequest[];
  /** How many answers are under way. */
  open(): number;
  /** Replaces the models on offer. */
  offer(models: readonly (string | object)[]): void;
  /** All paths that were asked for, with their methods. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** Starts one on a free port of loopback, or on the one given. */
export async function startOpenaiUpstream({
  port = 0,
  models = ['tiny'],
  answering = () => undefined,
  headers = {},
  tls,
}: {
  port?: number;
  /** Names, or whole entries of the list. */
  models?: readonly (string | object)[];
  answering?: Answering;
  /** Headers of every answer. */
  headers?: Readonly<Record<string, string>>;
  tls?: ServerOptions;
} = {}): Promise<OpenaiUpstream> {
  const requests: UpstreamRequest[] = [];
  const asked: string[] = [];
  let offered = models;
  let open = 0;

  async function answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
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
    if (await answering(request, response, message)) return;
    if (request.path === '/health') return json(response, 200, { status: 'ok' });
    if (request.path === '/v1/models') {
      const data = offered.map((model) => (typeof model === 'string' ? { id: model, object: 'model' } : model));
      return json(response, 200, { data });
    }
    if (request.path === '/v1/embeddings') return json(response, 200, embeddings(request.body.input));
    if (request.path !== '/v1/chat/completions') return json(response, 404, { detail: 'Not Found' });
    const words = String(request.body.messages.at(-1).content).split(/(?<= )/);
    const usage = { prompt_tokens: request.body.messages.length, completion_tokens: words.length, total_tokens: 0 };
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    if (!request.body.stream) {
      const choice = { index: 0, message: { role: 'assistant', content: words.join('') }, finish_reason: 'stop' };
      return json(response, 200, { choices: [choice], usage });
    }
    events(response, ...words.map(piece), finish('stop'), { choices: [], usage }, '[DONE]');
  }

  const listener = (message: IncomingMessage, response: ServerResponse): void => void answer(message, response);
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

/** Answers with JSON. */
export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** A chunk with a piece of the text. */
export function piece(content: string): object {
  return { choices: [{ index: 0, delta: { content }, finish_reason: null }] };
}

/** The chunk that ends the text. */
export function finish(reason: string): object {
  return { choices: [{ index: 0, delta: {}, finish_reason: reason }] };
}

/** Begins a stream of events, or goes on with it. */
export function write(response: ServerResponse, ...chunks: (object | string)[]): void {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for (const chunk of chunks) response.write(`data: ${typeof chunk === 'string' ? chunk : JSON.stringify(chunk)}\n\n`);
}

/** A stream of events from beginning to end. */
export function events(response: ServerResponse, ...chunks: (object | string)[]): void {
  write(response, ...chunks);
  response.end();
}

function embeddings(input: string | string[]): object {
  const texts = [input].flat();
  const data = texts.map((text, index) => ({ index, embedding: [text.length, index, 0.5] }));
  // Not in order: the index says which is which.
  return { data: data.reverse(), usage: { prompt_tokens: texts.length, total_tokens: texts.length } };
}
