import { afterEach, describe, expect, it } from 'vitest';
import { CallerKeys } from '../../src/credentials/caller-keys.js';
import { startTestGateway } from '../support/gateway.js';
import { exchangeBytes } from '../support/raw-exchange.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startGateway(...args: Parameters<typeof startTestGateway>) {
  const started = await startTestGateway(...args);
  cleanups.push(() => started.close());
  return started;
}

const CHAT = '/v1/chat/completions';
const ALICE = 'key-of-alice-1234567';
const BOB = 'key-of-bob-1234567890';
const WRONG = 'a-key-that-must-not-be-logged';

const CODINGS = 'transfer-encoding: gzip, chunked\r\n';

const keys = new CallerKeys([`alice ${ALICE} steer`, `bob ${BOB}`], 'keys');
const findCaller = keys.find.bind(keys);

/** Returns a request without a body. */
const formatRequest = (start: string, key: string, headers = ''): string =>
  `${start} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${key}\r\n${headers}connection: close\r\n\r\n`;

describe('a refused request', () => {
  it.each([
    ['an unknown key', formatRequest(`POST ${CHAT}?key=secret`, WRONG), 401, CHAT, undefined],
    ['an unknown key for metrics', formatRequest('GET /metrics', WRONG), 401, '/metrics', undefined],
    ['a key that is restricted', formatRequest('GET /metrics', BOB), 403, '/metrics', 'bob'],
    ['an unknown path', formatRequest('POST /v1/load_lora_adapter', ALICE), 404, '/v1/load_lora_adapter', 'alice'],
    ['a path with dots', formatRequest('POST /v1/../admin', ALICE), 400, '/v1/../admin', undefined],
    ['a URL with a password', formatRequest('GET http://me:secret@localhost/x', ALICE), 404, '/x', 'alice'],
    ['another method', formatRequest(`PUT ${CHAT}`, ALICE), 405, CHAT, 'alice'],
    ['a compressed body', formatRequest(`POST ${CHAT}`, ALICE, 'content-encoding: gzip\r\n'), 415, CHAT, 'alice'],
    ['a compressed body in chunks', formatRequest(`POST ${CHAT}`, ALICE, CODINGS), 501, CHAT, undefined],
    ['an expectation', formatRequest(`POST ${CHAT}`, ALICE, 'expect: 200-ok\r\n'), 417, CHAT, undefined],
    ['no host', `POST ${CHAT} HTTP/1.1\r\n\r\n`, 400, CHAT, undefined],
    ['two types', formatRequest(`POST ${CHAT}`, ALICE, 'content-type: a\r\n'.repeat(2)), 400, CHAT, 'alice'],
  ])('is reported and counted: %s', async (_what, request, status, path, caller) => {
    const { gateway, refused, finished } = await startGateway({ findCaller });
    const [method] = request.split(' ', 1);
    const countRefused = async (): Promise<string> => {
      const headers = { authorization: `Bearer ${ALICE}` };
      const metrics = await (await fetch(`${gateway.url}/metrics`, { headers })).text();
      return (
        metrics.split('\n').find((line) => line.includes(`refused_total{http_response_status_code="${status}"`)) ?? ''
      );
    };
    expect(await countRefused()).toMatch(/ 0$/);
    expect(await exchangeBytes(gateway.port, request)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(refused).toEqual([{ method, path, status, caller, host: '127.0.0.1', reason: expect.any(String) }]);
    expect(JSON.stringify(refused)).not.toMatch(/secret|must-not-be-logged|key-of/);
    expect(await countRefused()).toMatch(/ 1$/);
    expect(finished).toEqual([]);
  });

  it('has a short path in the log, and none in the metrics', async () => {
    const { gateway, refused } = await startGateway();
    for (let n = 0; n < 50; n++) await fetch(`${gateway.url}/${n}${'x'.repeat(5000)}`);
    expect(refused.length).toBe(50);
    expect(Math.max(...refused.map(({ path }) => path.length))).toBeLessThan(300);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('anyserve_requests_refused_total{http_response_status_code="404"} 50');
    expect(metrics).not.toContain('xxx');
  });
});

it('checks of health, metrics and lists of models are not reported', async () => {
  const { gateway, refused, finished } = await startGateway();
  for (const path of ['/livez', '/readyz', '/metrics', '/v1/models'])
    for (const method of ['GET', 'HEAD']) expect((await fetch(`${gateway.url}${path}`, { method })).status).toBe(200);
  expect([refused, finished]).toEqual([[], []]);
});
