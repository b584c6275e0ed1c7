import { afterEach, describe, expect, it } from 'vitest';
import { TokenSet } from '../../src/credentials/token-set.js';
import { startApiServer } from '../../src/index.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const JSON_POST = { method: 'POST', headers: { 'content-type': 'application/json' } };

type Options = NonNullable<Parameters<typeof startApiServer>[0]>;

async function start(options: Options = {}) {
  const server = await startApiServer({ port: 0, warmingMs: 0, ...options });
  cleanups.push(() => server.close());
  /** Scrapes the server, and returns the values by name with labels. */
  const scrape = async (): Promise<Record<string, number>> => {
    const response = await fetch(`${server.url}/metrics`);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    return parseMetrics(await response.text());
  };
  const register = async (id: string, capability: object): Promise<AbortController> => {
    const connection = new AbortController();
    const body = JSON.stringify({ replica_id: id, endpoint: `${id}:1`, capabilities: [capability] });
    const response = await fetch(`${server.url}/register`, { ...JSON_POST, body, signal: connection.signal });
    expect(response.status).toBe(200);
    // Keeps the response: Node.js cancels one that was garbage-collected, and the lease would end.
    cleanups.push(() => response.body?.cancel().catch(() => {}));
    return connection;
  };
  return { server, scrape, register };
}

function parseMetrics(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').pop())]));
}

describe('GET /metrics of an API server', () => {
  it('counts replicas, offers, leases, registrations, removals and routes', async () => {
    const { server, scrape, register } = await start({ metricsKeys: ['model'] });
    const one = await register('r1', { model: 'a' });
    await register('r2', { model: 'a' });
    await fetch(`${server.url}/register`, { ...JSON_POST, body: '{}' });
    await fetch(`${server.url}/route?model=a`);
    await fetch(`${server.url}/route?model=a`);
    await fetch(`${server.url}/route?model=b`);
    await fetch(`${server.url}/unknown`);
    const before = await scrape();
    expect(before).toMatchObject({
      'anyserve_replicas{state="ready"}': 2,
      'anyserve_replicas{state="suspect"}': 0,
      'anyserve_offers{model="a"}': 2,
      'anyserve_leases{kind="stream"}': 2,
      'anyserve_leases{kind="ttl"}': 0,
      'anyserve_registrations_total{result="granted"}': 2,
      'anyserve_registrations_total{result="unprocessable"}': 1,
      // From the start: otherwise a rate would not see the first removals.
      'anyserve_removals_total{reason="expired"}': 0,
      'anyserve_routes_total{result="found"}': 2,
      'anyserve_routes_total{result="no_match"}': 1,
      anyserve_self_preservation: 0,
      anyserve_store_connected: 1,
      anyserve_warming: 0,
      'http_server_request_duration_seconds_count{http_route="/route",http_response_status_class="2xx"}': 2,
      'http_server_request_duration_seconds_count{http_route="/route",http_response_status_class="4xx"}': 1,
      'http_server_request_duration_seconds_bucket{le="+Inf",http_route="/register",http_response_status_class="2xx"}': 2,
    });
    one.abort();
    await expect.poll(async () => (await scrape())['anyserve_removals_total{reason="closed"}']).toBe(1);
    expect(await scrape()).toMatchObject({
      'anyserve_offers{model="a"}': 1,
      'anyserve_leases{kind="stream"}': 1,
      'http_server_request_duration_seconds_count{http_route="/metrics",http_response_status_class="2xx"}': 2,
    });
  });

  it('counts renewals by result', async () => {
    const { server, scrape } = await start();
    const body = JSON.stringify({ replica_id: 'r1', endpoint: 'r1:1', capabilities: [{}], ttl: 60 });
    const connection = new AbortController();
    cleanups.push(() => connection.abort());
    const response = await fetch(`${server.url}/register`, { ...JSON_POST, body, signal: connection.signal });
    const lease = response.headers.get('x-anyserve-lease') ?? '';
    await fetch(`${server.url}/leases/${lease}`, { method: 'PUT' });
    await fetch(`${server.url}/leases/other`, { method: 'PUT' });
    await fetch(`${server.url}/leases/other`, { method: 'DELETE' });
    expect(await scrape()).toMatchObject({
      'anyserve_leases{kind="ttl"}': 1,
      'anyserve_lease_renewals_total{result="renewed"}': 1,
      'anyserve_lease_renewals_total{result="unknown"}': 1,
      'http_server_request_duration_seconds_count{http_route="/leases/{lease}",http_response_status_class="2xx"}': 1,
    });
  });

  it('has at most 25 families, and no replica id or capability in a label', async () => {
    const { server, register } = await start();
    await register('secret-replica', { model: 'secret-model' });
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const families = text.match(/^# TYPE \S+/gm) ?? [];
    expect(families.length).toBeGreaterThan(20);
    expect(families.length).toBeLessThanOrEqual(25);
    expect(text).not.toContain('secret');
    const values = parseMetrics(text);
    for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'nodejs_heap_size_used_bytes'])
      expect(values[name]).toBeGreaterThan(0);
  });

  it('needs the read token, if there is one', async () => {
    const { server } = await start({ readTokens: new TokenSet(['reading-token-1234567'], 'test') });
    const getStatus = async (headers = {}): Promise<number> =>
      (await fetch(`${server.url}/metrics`, { headers })).status;
    expect(await getStatus()).toBe(401);
    expect(await getStatus({ authorization: 'Bearer reading-token-1234567' })).toBe(200);
  });

  it('is refused to a token that is limited to a part of the registry', async () => {
    const tokens = new TokenSet(['team-a-token-1234567 prefix=a- tenant=a'], 'test');
    const { server } = await start({ registerTokens: tokens, readTokens: tokens });
    const headers = { authorization: 'Bearer team-a-token-1234567' };
    const response = await fetch(`${server.url}/metrics`, { headers });
    expect(response.status).toBe(403);
  });

  it.each([['a-b'], ['__name'], ['model', 'model'], ['a', 'b', 'c', 'd', 'e']])(
    'refuses the keys %s',
    async (...metricsKeys) => {
      await expect(startApiServer({ port: 0, metricsKeys })).rejects.toMatchObject({ code: 'usage' });
    },
  );
});
