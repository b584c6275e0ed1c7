import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run, start, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

let server: string;
const leases: (() => unknown)[] = [];

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
});

afterEach(async () => {
  for (const end of leases.splice(0)) await end();
  await until('the list is empty', async () =>
    (await (await fetch(`${server}/replicas`)).text()).includes('"replicas":[]'),
  );
});

afterAll(stopAll);

/** Registers a replica in this state until the test ends. */
async function registerReplica(
  id: string,
  capabilities: readonly object[],
  state?: 'unready' | 'draining',
): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server}/register`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ replica_id: id, endpoint: 'gpu7:8001', capabilities, ttl: 60 }),
  });
  expect(response.status).toBe(200);
  // Keeps the response: Node.js cancels one that was garbage-collected, and the lease would end.
  leases.push(() => response.body?.cancel());
  if (state === undefined) return;
  const url = `${server}/leases/${response.headers.get('x-anyserve-lease')}`;
  expect((await fetch(url, { method: 'PUT', headers, body: JSON.stringify({ state }) })).status).toBe(200);
}

/** Runs a command for which no replica matches, and returns its error message. */
async function runWithoutMatch(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run([...args, '--server', server], { input: 'Hello\n' });
  expect([code, stdout]).toEqual([3, '']);
  expect(stderr).toMatch(/^anyserve: .*\n$/);
  return stderr.slice('anyserve: '.length, -1);
}

describe('no match', () => {
  it.each([
    ['an explanation', true, ['/route?type=chat', '/explain?type=chat']],
    ['the list of a server without explanations', false, ['/route?type=chat', '/explain?type=chat', '/replicas']],
  ])('takes one request for a route, and one for %s', async (_what, canExplain, targets) => {
    const requests: (string | undefined)[] = [];
    const tally = { count: 0, replicas: [] };
    const explanation = { replicas: 7, examined: 7, candidates: tally, others: tally, pairs: [] };
    const fake = createServer(({ url }, response) => {
      requests.push(url);
      if (url?.startsWith('/route')) response.writeHead(404).end('{"detail":"no matching replica"}');
      else if (!url?.startsWith('/explain')) response.end('{"replicas":[]}');
      else if (canExplain) response.end(JSON.stringify(explanation));
      else response.writeHead(404).end('{"detail":"Not Found"}');
    });
    await once(fake.listen(0, '127.0.0.1'), 'listening');
    try {
      const url = `http://127.0.0.1:${(fake.address() as AddressInfo).port}`;
      const { code, stderr } = await run(['route', 'type=chat', '--server', url]);
      expect(code).toBe(3);
      expect(stderr).toContain(canExplain ? '; 7 replicas are registered, list' : '; no replica is registered');
    } finally {
      fake.closeAllConnections();
      fake.close();
    }
    expect(requests).toEqual(targets);
  });

  it('names replicas that match but are not ready, and since when', async () => {
    await registerReplica('r1', [{ type: 'chat', model: 'llama' }], 'unready');
    await registerReplica('r2', [{ type: 'chat' }], 'draining');
    const words = /no ready replica offers .*; "r1" \(unready for \ds\) and "r2" \(draining for \ds\) do$/;
    expect(await runWithoutMatch('route', 'type=chat')).toMatch(words);
    expect(await runWithoutMatch('infer', 'chat', 'Hello')).toMatch(words);
    expect(await runWithoutMatch('chat', 'chat')).toMatch(words);
    expect(await runWithoutMatch('infer', 'llama', 'Hello')).toMatch(/"r1" \(unready for \ds\) does$/);
  });

  it('reports that the pairs exist only in different capabilities', async () => {
    await registerReplica('r1', [{ type: 'chat' }, { gpu: 'h100' }]);
    expect(await runWithoutMatch('route', 'type=chat', 'gpu=h100')).toBe(
      'no replica offers {"type":"chat","gpu":"h100"}; "r1" has all of these pairs, but in different capability objects',
    );
    await registerReplica('r2', [{ zone: 'a' }]);
    expect(await runWithoutMatch('infer', 'x', '--cap', 'type=chat,zone=a', 'Hello')).toContain(
      'no replica has all of these pairs: type=chat by "r1" and zone=a by "r2"',
    );
  });

  it('suggests the closest spelling, and explains that lists never match', async () => {
    await registerReplica('r1', [{ model: 'llama', tags: ['fast', 'new'] }]);
    expect(await runWithoutMatch('route', 'model=lama')).toContain('; did you mean model=llama?');
    expect(await runWithoutMatch('route', 'modle=llama')).toContain('; did you mean model=llama?');
    expect(await runWithoutMatch('infer', 'Llama', 'Hello')).toContain('; did you mean model=llama?');
    expect(await runWithoutMatch('registry', 'model=lama')).toContain('; did you mean model=llama?');
    expect(await runWithoutMatch('route', 'tags=fast')).toContain('"r1" has a list for tags, and a list never matches');
  });

  it('reports how many replicas are registered when none is similar', async () => {
    expect(await runWithoutMatch('route', 'model=x')).toBe('no replica offers {"model":"x"}; no replica is registered');
    await registerReplica('r1', [{ model: 'llama' }]);
    expect(await runWithoutMatch('route', 'model=gpt')).toBe(
      'no replica offers {"model":"gpt"}; 1 replica is registered, show it with "anyserve registry"',
    );
  });
});
