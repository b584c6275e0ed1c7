/** The engine of the gateway benchmarks for single responses: nginx, which responds to POST with a constant. */
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startUntil } from './gateway-process.js';

/** The model that all engines of these benchmarks offer. */
export const MODEL = 'mock';

/** The key that callers send, and that gateways with keys expect. LiteLLM refuses weaker ones. */
export const KEY = `sk-${'37c1e9a0f5d2b846'.repeat(4)}`;

/** Path of the calls. */
export const CALL_PATH = '/v1/chat/completions';

/** Bodies of requests: a question, and one with a long document. */
export const SMALL_BODY = createRequest('Say hello in one sentence, please.');
export const LARGE_BODY = createRequest('lorem ipsum '.repeat(200_000 / 12));

const SMALL_RESPONSE = createResponse('Hello! How can I help you today?');
const LARGE_RESPONSE_BYTES = 100_000;

/** Starts nginx on a core. Resolves to its URL: `http://127.0.0.1:PORT`. */
export async function startEngine(core: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'anyserve-bench-'));
  const port = await findFreePort();
  // The workers of nginx are another user if it is started by root.
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'large.json'), createResponse('x'.repeat(LARGE_RESPONSE_BYTES)));
  writeFileSync(join(folder, 'nginx.conf'), formatConfig(folder, port));
  const url = `http://127.0.0.1:${port}`;
  await startUntil(['nginx', '-p', folder, '-c', join(folder, 'nginx.conf')], {
    core,
    isReady: async () => (await fetch(`${url}/v1/models`)).ok,
  });
  return url;
}

/** Finds a TCP port that nobody listens on. */
export function findFreePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function createRequest(content: string): string {
  const system = { role: 'system', content: 'You are a helpful assistant.' };
  return JSON.stringify({
    model: MODEL,
    messages: [system, { role: 'user', content }],
    max_tokens: 32,
    temperature: 0.7,
  });
}

function createResponse(content: string): string {
  return JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: MODEL,
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 9, completion_tokens: 9, total_tokens: 18 },
  });
}

/** A request of 100 kB and more gets the large response. nginx sends files only to GET, so the file is the page of an "error". */
function formatConfig(folder: string, port: number): string {
  return `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 10m;
  client_body_temp_path ${folder}/body;
  default_type application/json;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /health { return 200 '{}'; }
    location = /v1/models { return 200 '{"object":"list","data":[{"id":"${MODEL}","object":"model"}]}'; }
    location = /large.json { root ${folder}; error_page 405 =200 /large.json; }
    location = ${CALL_PATH} {
      if ($content_length ~ "^[0-9]{6}") { rewrite ^ /large.json last; }
      return 200 '${SMALL_RESPONSE}';
    }
  }
}
`;
}
