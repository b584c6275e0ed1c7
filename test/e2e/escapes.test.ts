import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { run, start } from '../support/binary.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** Text that would clear the screen, set a title, reverse a line, or break a log line. */
const ACTIVE = '\u001b[2J\u009b2J\u009d0;title\u009c\u202e\u2028\rx';

/** Unprintable characters, except the line feeds of the output itself. */
const UNPRINTABLE = /(?!\n)[\p{Cc}\p{Bidi_Control}\u2028\u2029\ufffd]/u;

/** Starts a server that sends the same response to each request. */
async function serveConstant(status: number, body: unknown): Promise<string> {
  const server = createServer((_request, response) => void response.writeHead(status).end(JSON.stringify(body)));
  cleanups.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it.each([
  ['an error of the API server', 503, { detail: ACTIVE }, ['route', 'type=chat']],
  [
    'an endpoint that cannot be dialled',
    200,
    { endpoint: ACTIVE, replica_id: ACTIVE },
    ['infer', 'chat', '--prompt', 'x'],
  ],
  ['a route', 200, { endpoint: ACTIVE, replica_id: ACTIVE }, ['route', 'type=chat']],
  [
    'a list',
    200,
    { replicas: [{ replica_id: ACTIVE, endpoint: ACTIVE, capabilities: [{ model: ACTIVE }] }] },
    ['registry'],
  ],
  [
    'a history',
    200,
    { epoch: ACTIVE, events: [{ seq: 1, at: 1, kind: ACTIVE, replica_id: ACTIVE, other: ACTIVE }] },
    ['events'],
  ],
])('%s is shown escaped, in stacks and JSON, too', async (_what, status, body, words) => {
  const server = await serveConstant(status, body);
  for (const flags of [[], ['--debug'], ['--json'], ['--json', '--debug']]) {
    const { stdout, stderr } = await run([...words, ...flags, '--server', server]);
    expect(stdout + stderr).toContain('\\u009b2J');
    expect(stdout + stderr).not.toMatch(UNPRINTABLE);
  }
});

it('an argument with control characters is escaped in a stack trace', async () => {
  const { stderr } = await run(['infer', 'chat', '--prompt', 'x', '--debug', '--endpoint', `${ACTIVE}:0`]);
  expect(stderr).toContain('\n    at ');
  expect(stderr).not.toMatch(UNPRINTABLE);
});

it('values of registrations are escaped in the log of the API server', async () => {
  const api = start(['serve', '--port', '0']);
  cleanups.push(() => api.stop());
  const url = await api.waitForOutput(/listening on (\S+)/);
  const body = JSON.stringify({ replica_id: ACTIVE, endpoint: 'host', capabilities: [{ model: [ACTIVE] }] });
  const leave = new AbortController();
  const headers = { 'content-type': 'application/json' };
  await fetch(`${url}/register`, { method: 'POST', body, headers, signal: leave.signal });
  leave.abort();
  const { stderr } = await api.stop();
  expect(stderr).toContain('\\u009b2J');
  expect(stderr).not.toMatch(UNPRINTABLE);
});
