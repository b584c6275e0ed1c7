import type { ServerResponse } from 'node:http';
import { type HttpEngine, type ReceivedRequest, sendJson, startHttpEngine } from './http-engine.js';

/** An event of a stream: its data, and its name if it has one. */
type Event = readonly [data: object | '[DONE]', name?: string];

// biome-ignore lint/suspicious/noExplicitAny: the requests of OpenAI's client
type Body = any;

const ID = { id: 'chatcmpl-1', created: 1, model: 'm' };
const USAGE = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const VECTOR = new Float32Array([0.5, -1, 3.25]);

/** Starts an engine that responds to every kind of call of OpenAI's client as OpenAI does, and always in the same way. */
export function startOpenaiEngine(): Promise<HttpEngine> {
  return startHttpEngine((request, response) => {
    const path = request.url.replace('/v1', '');
    const handle = HANDLERS[path];
    if (handle) handle(request, response);
    else sendJson(response, { detail: 'Not Found' }, 404);
  });
}

const HANDLERS: Readonly<Record<string, (request: ReceivedRequest, response: ServerResponse) => void>> = {
  '/chat/completions': ({ body }, response) => sendChat(JSON.parse(body), response),
  '/embeddings': ({ body }, response) => sendEmbeddings(JSON.parse(body), response),
  '/responses': ({ body }, response) => sendModelResponse(JSON.parse(body), response),
  '/audio/transcriptions'({ body }, response) {
    const [, fileName] = /filename="([^"]*)"/.exec(body) ?? [];
    sendJson(response, { text: `${fileName}: ${body.includes('the sound')}` });
  },
  '/audio/speech': (_request, response) =>
    response.writeHead(200, { 'content-type': 'audio/mpeg' }).end(Buffer.from([0, 255, 128, 10, 13])),
};

function sendChat(body: Body, response: ServerResponse): void {
  const message = createMessage(body);
  const reason = message.tool_calls ? 'tool_calls' : 'stop';
  if (!body.stream) {
    const choices = [{ index: 0, message, logprobs: null, finish_reason: reason }];
    sendJson(response, { ...ID, object: 'chat.completion', choices, usage: USAGE }, 200, {
      'x-request-id': 'r1',
    });
    return;
  }
  const chunk = (delta: object, finish: string | null = null): Event => [
    { ...ID, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] },
  ];
  const pieces: Event[] = message.tool_calls
    ? message.tool_calls.flatMap((call, index) => [
        chunk({ tool_calls: [{ index, id: call.id, type: 'function', function: { name: call.function.name } }] }),
        chunk({ tool_calls: [{ index, function: { arguments: call.function.arguments } }] }),
      ])
    : (message.content ?? '').split(/(?<= )/).map((content) => chunk({ content }));
  const usage: Event[] = body.stream_options?.include_usage
    ? [[{ ...ID, object: 'chat.completion.chunk', choices: [], usage: USAGE }]]
    : [];
  sendEventStream(response, [chunk({ role: 'assistant' }), ...pieces, chunk({}, reason), ...usage, ['[DONE]']]);
}

interface Message {
  readonly role: 'assistant';
  readonly content: string | null;
  readonly refusal: null;
  readonly tool_calls?: readonly {
    readonly id: string;
    readonly type: 'function';
    readonly function: { readonly name: string; readonly arguments: string };
  }[];
}

/** Calls each tool once, and reports their results. Without tools, describes the last message. */
function createMessage({ messages, tools, response_format: format }: Body): Message {
  const last = messages.at(-1);
  const message = { role: 'assistant', refusal: null } as const;
  if (tools && last.role === 'user') {
    const calls = tools.map((tool: Body, index: number) => ({
      id: `call_${index}`,
      type: 'function',
      function: { name: tool.function.name, arguments: `{"city":"Z\\u00fcrich ${index}"}` },
    }));
    return { ...message, content: null, tool_calls: calls };
  }
  if (format?.type === 'json_schema') return { ...message, content: '{"name":"Ada","born":1815}' };
  const results = messages.filter(({ role }: Body) => role === 'tool').map(({ content }: Body) => content);
  const parts = Array.isArray(last.content) ? last.content.map(({ type }: Body) => type) : [last.content];
  return { ...message, content: `I have read: ${(results.length > 0 ? results : parts).join(' and ')} ☃.` };
}

function sendEmbeddings({ input, encoding_format: format }: Body, response: ServerResponse): void {
  const embedding = format === 'base64' ? Buffer.from(VECTOR.buffer).toString('base64') : [...VECTOR];
  const data = [input].flat().map((_text, index) => ({ object: 'embedding', index, embedding }));
  sendJson(response, { object: 'list', model: 'm', data, usage: { prompt_tokens: 1, total_tokens: 1 } });
}

/** Responds to a call of the Responses API. */
function sendModelResponse(body: Body, response: ServerResponse): void {
  const text = { type: 'output_text', text: `You said ${body.input}`, annotations: [] };
  const item = { id: 'msg_1', type: 'message', role: 'assistant', status: 'completed', content: [text] };
  const result = { id: 'resp_1', object: 'response', created_at: 1, model: 'm', status: 'completed', output: [item] };
  if (!body.stream) {
    sendJson(response, result);
    return;
  }
  const delta = { type: 'response.output_text.delta', item_id: 'msg_1', output_index: 0, content_index: 0 };
  sendEventStream(response, [
    [{ type: 'response.created', sequence_number: 0, response: { ...result, output: [] } }, 'response.created'],
    [{ ...delta, sequence_number: 1, delta: text.text }, delta.type],
    [{ type: 'response.completed', sequence_number: 2, response: result }, 'response.completed'],
  ]);
}

/** Sends each event in a packet of its own. */
function sendEventStream(response: ServerResponse, events: readonly Event[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  let next = 0;
  const send = (): void => {
    const event = events[next++];
    if (!event) return void response.end();
    const [data, name] = event;
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    response.write(`${name === undefined ? '' : `event: ${name}\n`}data: ${text}\n\n`, () => setImmediate(send));
  };
  send();
}
