import type { Request } from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LeaseId } from '../../src/core/ids.js';
import { createExplainHandler } from '../../src/server/explain-handler.js';
import { ExplanationQueue } from '../../src/server/explanation-queue.js';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { RecordedResponse } from '../support/recorded-response.js';
import { serializedReplica } from '../support/replicas.js';
import { until } from '../support/until.js';

let server: TestApiServer;

beforeEach(async () => {
  server = await startTestApiServer();
});

afterEach(() => server.close());

async function register(id: string, ...capabilities: Parameters<typeof serializedReplica>[1][]): Promise<LeaseId> {
  return server.registry.register(serializedReplica(id, ...capabilities), { host: 'h' }, () => {});
}

async function explain(search: string, headers: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const response = await fetch(`${server.url}/explain?${search}`, { headers });
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
  return (await response.json()) as Record<string, unknown>;
}

describe('GET /explain', () => {
  it('lists the replicas of which a request picks one, and the other matches with their states', async () => {
    await register('r1', { type: 'chat', model: 'llama' });
    await register('r2', { type: 'chat' }, { type: 'embed' });
    await server.registry.renew(await register('r3', { type: 'chat' }), 'draining');
    const request = { method: 'PUT', body: '{"reason":"disk full"}' };
    expect((await fetch(`${server.url}/replicas/r2/cordon`, request)).status).toBe(200);
    const body = await explain('type=chat');
    expect(body).toMatchObject({
      message: '1 ready replica offers {"type":"chat"}: "r1"',
      details: ['"r2" (cordoned: "disk full") and "r3" (draining for 0s) match, but get no calls'],
      replicas: 3,
      examined: 3,
      truncated: false,
      warming: false,
      candidates: { count: 1, replicas: [{ replica_id: 'r1', state: 'ready' }] },
      others: {
        count: 2,
        replicas: [
          { replica_id: 'r2', state: 'ready', cordon: { cordoned: true, reason: 'disk full' } },
          { replica_id: 'r3', state: 'draining' },
        ],
      },
    });
  });

  it('says which term of a selector no replica satisfies', async () => {
    await register('r1', { type: 'chat', ctx: 4096 });
    expect(await explain('type=chat', { 'X-Anyserve-Selector': 'ctx%3E%3D8192' })).toMatchObject({
      message: 'no replica offers {"type":"chat"} where "ctx>=8192"',
      details: ['wanted ctx>=8192, "r1" has ctx=4096'],
      selector: 'ctx>=8192',
      selector_miss: { replica_id: 'r1', term: 'ctx>=8192', key: 'ctx', offered: '4096' },
    });
    expect(await explain('type=chat', { 'X-Anyserve-Selector': 'ctx<8192' })).toMatchObject({
      candidates: { count: 1 },
    });
    const refused = await fetch(`${server.url}/explain`, { headers: { 'X-Anyserve-Selector': 'a in (' } });
    expect(refused.status).toBe(400);
  });

  it('has the reasons why no replica matches', async () => {
    await register('r3', { type: 'chat', gpu: 'a100' });
    expect(await explain('type=chat&gpu=rtx4090')).toMatchObject({
      message: 'no replica offers {"type":"chat","gpu":"rtx4090"}',
      details: ['wanted gpu=rtx4090, "r3" has gpu=a100'],
      candidates: { count: 0, replicas: [] },
      near_miss: { replica_id: 'r3', key: 'gpu', value: 'rtx4090', offered: 'a100' },
    });
    expect(await explain('typ=chat')).toMatchObject({
      details: ['did you mean type=chat?'],
      pairs: [{ key: 'typ', value: 'chat', closest: { key: 'type', value: 'chat' } }],
    });
    expect(await explain('')).toMatchObject({ candidates: { count: 1 }, pairs: [] });
  });

  it('parses the query as /route does', async () => {
    await register('r1', { 'a b': 'é"', __proto__: 'x' });
    for (const search of ['a+b=%C3%A9%22', 'a+b=1&a+b=%C3%A9%22', '%61%20b=%c3%a9%22']) {
      expect(await explain(search)).toMatchObject({ candidates: { count: 1 } });
      expect((await fetch(`${server.url}/route?${search}`)).status).toBe(200);
    }
    const search = Array.from({ length: 100 }, (_, n) => `k${n}=v`).join('&');
    expect(await explain(search)).toMatchObject({ candidates: { count: 0 } });
  });

  it('reports that the server has just started', async () => {
    const starting = await startTestApiServer({ warmingMs: 60_000 });
    const body = (await (await fetch(`${starting.url}/explain?a=1`)).json()) as { warming: boolean; details: string[] };
    await starting.close();
    expect(body.warming).toBe(true);
    expect(body.details).toContain('the API server has just started, so replicas can still be missing');
  });

  it('responds to a HEAD request with the headers alone', async () => {
    const { received } = openRawConnection(server.port, 'HEAD /explain?a=1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it responds', () => received().includes('\r\n\r\n'));
    expect(received()).toMatch(/^HTTP\/1\.1 200 .*content-length: \d+\r\n.*\r\n\r\n$/is);
  });

  it('refuses host names that could be a DNS rebinding', async () => {
    const { received } = openRawConnection(server.port, 'GET /explain?a=1 HTTP/1.1\r\nHost: evil.test\r\n\r\n');
    await until('it responds', () => received().includes('HTTP/1.1 421'));
  });

  it('has a 503 with Retry-After while 16 others are being explained', async () => {
    const registry = { pages: () => [], search: () => ({ kind: 'none' as const }) };
    const handle = createExplainHandler(registry, new ExplanationQueue(() => false, new ManualClock()));
    const request = { url: '/explain?a=1', rawHeaders: [] as string[] } as Request;
    const sent = Array.from({ length: 17 }, () => new RecordedResponse());
    for (const { response } of sent) void handle(request, response, () => {});
    const refused = sent.filter(({ status }) => status !== undefined);
    expect(refused).toEqual([
      expect.objectContaining({ status: 503, headers: expect.arrayContaining(['retry-after', '5']) }),
    ]);
  });
});
