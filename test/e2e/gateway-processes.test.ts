import { execFileSync } from 'node:child_process';
import { type IncomingMessage, request, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, it } from 'vitest';
import { registerEngine, startTestApiServer } from '../support/api-server.js';
import { type Running, run, start, stopAll } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { until } from '../support/until.js';

const keep = closeAfterEach();

afterAll(stopAll);

const EVENT = 'data: {"choices":[]}\n\n';

/** Starts a gateway with two processes, and an engine whose streams end on request. */
async function startTwoProcesses(...options: readonly string[]) {
  const server = keep(await startTestApiServer());
  const streams: ServerResponse[] = [];
  const engine = keep(
    await startHttpEngine(({ body }, response) => {
      if (!body.includes('"stream":true')) return sendJson(response, { choices: [] });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(EVENT);
      streams.push(response);
    }),
  );
  await registerEngine(server, 'engine', engine.url, [{ model: 'm' }]);
  const gateway = start(['gateway', '--port', '0', '--processes', '2', '--server', server.url, ...options]);
  const url = await gateway.waitForOutput(/listening on (http:\S+)\/v1/);
  await until('both processes run', () => listProcesses(gateway).length === 2);
  const call = (isStream = false): Promise<IncomingMessage> => {
    const body = JSON.stringify({ model: 'm', messages: [], ...(isStream && { stream: true }) });
    // Each call has a connection, which goes to the next process. A fetch would take a broken response without keep-alive for complete.
    return new Promise((resolve, reject) =>
      request(`${url}/v1/chat/completions`, { method: 'POST', agent: false }, resolve).on('error', reject).end(body),
    );
  };
  const countCalls = async (): Promise<number> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return Number(/^anyserve_calls_total\S* (\d+)$/m.exec(metrics)?.[1] ?? 0);
  };
  await until('both processes have calls', async () => {
    (await call()).resume();
    return (await countCalls()) >= 4;
  });
  return { gateway, url, streams, call, countCalls };
}

/** Returns the ids of the processes that a gateway has started. */
function listProcesses({ child }: Running): number[] {
  try {
    const list = execFileSync('ps', ['-o', 'pid=', '--ppid', String(child.pid)]);
    return list.toString().trim().split(/\s+/).map(Number);
  } catch {
    // There is none.
    return [];
  }
}

describe('a gateway with two processes', () => {
  it('replaces a process that is killed: the other one goes on, and no call counts less or twice', async () => {
    const { gateway, streams, call, countCalls } = await startTwoProcesses();
    const before = await countCalls();
    const countLines = (): number => gateway.stderr().split('/chat/completions m: ').length - 1;
    await until('all calls are logged', () => countLines() === before);
    const responses = await Promise.all([call(true), call(true)]);
    const texts = responses.map((response) => text(response).catch(() => 'broken'));
    await until('both streams have begun', () => streams.length === 2);
    const [killed = 0, other] = listProcesses(gateway);
    process.kill(killed, 'SIGKILL');
    await until('the end is logged', () => gateway.stderr().includes(`process ${killed} was ended by SIGKILL`));
    for (let count = 0; count < 20; count++) expect((await call()).resume().statusCode).toBe(200);
    await until('there is another process', () => listProcesses(gateway).filter((id) => id !== killed).length === 2);
    expect(listProcesses(gateway)).toContain(other);
    for (const stream of streams) stream.end('data: [DONE]\n\n');
    expect((await Promise.all(texts)).toSorted()).toEqual(['broken', `${EVENT}data: [DONE]\n\n`]);
    // The stream of the killed process is not counted, because it has not ended there.
    await until('all calls are counted', async () => (await countCalls()) === before + 21);
    await until('all calls are logged', () => countLines() === before + 21);
  });

  it('drains all processes at SIGTERM', async () => {
    const { gateway, url, streams, call } = await startTwoProcesses('--drain', '20s');
    const responses = await Promise.all([call(true), call(true)]);
    await until('both streams have begun', () => streams.length === 2);
    gateway.child.kill('SIGTERM');
    await until('it is not ready', async () => (await fetch(`${url}/readyz`)).status === 503);
    for (const stream of streams) stream.end('data: [DONE]\n\n');
    for (const response of responses) expect(await text(response)).toBe(`${EVENT}data: [DONE]\n\n`);
    const { code, stdout } = await gateway.ended;
    expect([code, stdout]).toEqual([0, `listening on ${url}/v1\n`]);
  });

  it('skips the drain delay at SIGINT to the first process', async () => {
    const { gateway } = await startTwoProcesses('--drain-delay', '60s');
    expect((await gateway.stop('SIGINT')).code).toBe(130);
  });

  it('ends at once when its primary process is killed', async () => {
    const { gateway, url } = await startTwoProcesses();
    const processes = listProcesses(gateway);
    await gateway.stop('SIGKILL');
    await until('they have ended', () => processes.every((id) => !isRunning(id)));
    await expect(fetch(`${url}/livez`)).rejects.toThrow();
  });
});

function isRunning(id: number): boolean {
  try {
    return process.kill(id, 0);
  } catch {
    return false;
  }
}

it('options that are wrong are reported once, with the exit code of one process', async () => {
  expect(await run(['gateway', '--processes', '0'])).toMatchObject({
    code: 2,
    stderr: 'anyserve: --processes "0": give a whole number from 1 to 256\n',
  });
  const { code, stderr } = await run(['gateway', '--processes', '2', '--port', '0', '--pick', 'x']);
  expect([code, stderr.split('\n')]).toEqual([2, [expect.stringContaining('--pick "x": give one of'), '']]);
});
