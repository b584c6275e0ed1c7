import { execFileSync } from 'node:child_process';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { startProgram } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { startTestGateway } from '../support/gateway.js';
import { type ReceivedRequest, startHttpEngine } from '../support/http-engine.js';
import { getInteropPath } from './python.js';

const keep = closeAfterEach();

// biome-ignore lint/suspicious/noExplicitAny: the requests of OpenAI's clients
type Body = any;

/** JSON that parsing and serializing would change: numbers, escapes, spaces. */
const ODD_MEMBERS =
  '"big":123456789012345678901234567890, "float":1.0,"small":-1E-07 ,"snowman":"\\u2603","nothing":null';

const USAGE =
  '{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":1}}';
const LOGPROBS = '{"content":[{"token":"a","bytes":[97],"logprob":-1.0E-7,"top_logprobs":[]}]}';

/** Responds to a chat with unusual JSON: calls of all tools at first, else a description of the request. */
function respondToChat(body: Body, response: ServerResponse): void {
  const last = body.messages.at(-1);
  const [, status] = /^fail (\d+)$/.exec(String(last.content)) ?? [];
  const tools: Body[] = last.role === 'user' ? (body.tools ?? []) : [];
  const content = tools.length > 0 ? 'null' : JSON.stringify(describeMessages(body));
  const message = `"role":"assistant","content":${content},"reasoning_content":"\\ud83d\\ude00","tool_calls":[${tools.map(formatToolCall)}]`;
  if (status !== undefined)
    sendJsonText(
      response,
      `{"error": {"message":"\\u2603","type":"x","code":${status}}, ${ODD_MEMBERS}}`,
      Number(status),
    );
  else if (body.stream) sendEvents(response, body, message);
  else sendCompletion(response, body, message);
}

function sendCompletion(response: ServerResponse, { n = 1, logprobs }: Body, message: string): void {
  const choices = Array.from(
    { length: n },
    (_, index) =>
      `{"index":${index},"message":{${message}},"logprobs":${logprobs ? LOGPROBS : null},"finish_reason":"stop"}`,
  );
  sendJsonText(response, `{${formatHead('chat.completion')},"choices":[${choices}],"usage":${USAGE}}\n`);
}

function sendEvents(response: ServerResponse, { n = 1, stream_options: options }: Body, message: string): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  const sendEvent = (members: string): unknown =>
    response.write(`data: {${formatHead('chat.completion.chunk')},${members}}\n\n`);
  response.write(': a comment\n\n');
  for (let index = 0; index < n; index++) {
    sendEvent(`"choices":[{"index":${index},"delta":{${message}},"finish_reason":null}]`);
    sendEvent(`"choices":[{"index":${index},"delta":{},"finish_reason":"stop"}]`);
  }
  if (options?.include_usage) sendEvent(`"choices":[],"usage":${USAGE}`);
  response.end('data: [DONE]\n\n');
}

function formatHead(kind: string): string {
  return `"id":"c1","object":"${kind}","created":1700000000,"model":"m",${ODD_MEMBERS}`;
}

function formatToolCall({ function: { name } }: Body, index: number): string {
  const called = `{"name":"${name}","arguments":"{\\"city\\":\\"Z\\u00fcrich ${index}\\"}"}`;
  return `{"index":${index},"id":"call_${index}","type":"function","function":${called}}`;
}

function describeMessages({ messages, response_format: format }: Body): string {
  const parts = messages.map(({ role, content, tool_calls: calls }: Body) => {
    const text = Array.isArray(content)
      ? content.map(({ type, image_url }: Body) => type + (image_url?.url.length ?? ''))
      : content;
    return `${role} ${text} ${calls?.length ?? ''}`;
  });
  return `${parts.join('; ')} ${format?.type ?? ''} ☃`;
}

function sendJsonText(response: ServerResponse, text: string, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(text);
}

function respond({ url, body }: ReceivedRequest, response: ServerResponse): void {
  if (url === '/v1/chat/completions') respondToChat(JSON.parse(body), response);
  else if (url === '/v1/embeddings')
    sendJsonText(
      response,
      `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1.0,1e-10]}],"model":"m", ${ODD_MEMBERS}}`,
    );
  else sendJsonText(response, '{"text":"heard \\u2603"}');
}

/** The parts of a request that must be the same whether it goes through the gateway or not. */
function getSentParts({ method, url, headers, body }: ReceivedRequest): unknown {
  const { accept, 'content-type': type = '', 'user-agent': agent } = headers;
  const [, boundary = 'none'] = /boundary=(.*)/.exec(type) ?? [];
  return { method, url, accept, agent, body: body.replaceAll(boundary, 'BOUNDARY') };
}

/** Runs a program against an engine, and against the gateway in front of it. Returns what it printed. */
async function runBothWays(...commandLine: readonly string[]): Promise<string> {
  const engine = keep(await startHttpEngine(respond));
  const { gateway, register, waitForModels } = keep(await startTestGateway());
  await register('a', engine.url);
  await waitForModels('m');
  const results = [];
  for (const url of [engine.url, `${gateway.url}/v1`]) {
    const { code, stdout, stderr } = await startProgram([...commandLine, url], { env: { PYTHONIOENCODING: 'utf-8' } })
      .ended;
    expect([code, stderr]).toEqual([0, '']);
    results.push({ stdout, sent: engine.requests.splice(0).map(getSentParts) });
  }
  const [direct, forwarded] = results;
  expect(forwarded).toEqual(direct);
  return direct?.stdout ?? '';
}

/** Returns whether the Go compiler is installed. Prints why the test is skipped if it isn't. */
function hasGo(): boolean {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn("skipped: OpenAI's Go client needs go, which is not installed");
    return false;
  }
}

describe.skipIf(!hasGo())("OpenAI's Go client", () => {
  const program = join(tmpdir(), 'openai-go');

  beforeAll(() => {
    // The tests set a temporary folder for caches, but Go compiles the client for a minute without its own.
    const env = { ...process.env, XDG_CACHE_HOME: '' };
    execFileSync('go', ['build', '-o', program, '.'], { cwd: getInteropPath('openai-go'), env, stdio: 'inherit' });
  }, 300_000);

  it('gets the same bytes through the gateway as directly, and sends the same', async () => {
    const printed = await runBothWays(program);
    expect(printed).toMatch(/^chat: \{"id":"c1",.*"big":123456789012345678901234567890, "float":1\.0/);
    for (const part of [
      'tools: {',
      'results of tools: ',
      'stream of tools: ',
      'status 422',
      'image_url160022',
      'transcription: heard ☃',
    ])
      expect(printed).toContain(part);
  });
});

it('agents of Python frameworks get the same through the gateway as directly, and send the same', async () => {
  const python = process.env['ANYSERVE_TEST_AGENTS'] ?? 'python3';
  const printed = await runBothWays(python, getInteropPath('agents.py'));
  for (const part of ['pydantic-ai: ', 'langchain: ', 'degrees in Zürich']) expect(printed).toContain(part);
});
