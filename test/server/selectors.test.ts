import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Registry } from '../../src/core/registry.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { serializedReplica } from '../support/replicas.js';
import { until } from '../support/until.js';
import { openWatch, type RawWatch } from '../support/watch-client.js';

let server: TestApiServer;
let watches: RawWatch[];

beforeEach(async () => {
  watches = [];
  server = await startTestApiServer();
});

afterEach(async () => {
  for (const { socket } of watches) socket.destroy();
  await server.close();
});

type Lease = Awaited<ReturnType<Registry['register']>>;

const register = (id: string, ...capabilities: Record<string, string | number>[]): Promise<Lease> =>
  server.registry.register(serializedReplica(id, ...capabilities), { host: 'h', ttlMs: 60_000 }, () => {});

interface Routed {
  readonly status: number;
  /** Id of the replica, or the detail of the error. */
  readonly result: string;
  readonly applied: unknown;
}

/** Requests a route with these headers, as raw pairs, so that a name can be repeated. */
function route(search: string, ...headers: string[]): Promise<Routed> {
  return new Promise((resolve, reject) => {
    const sent = request(`${server.url}/route${search}`, { headers: ['Host', 'localhost', ...headers] }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += String(chunk);
      });
      response.on('end', () => {
        const { replica_id: id, detail } = JSON.parse(body) as { replica_id?: string; detail?: string };
        const applied = response.headers['x-anyserve-selector'];
        resolve({ status: response.statusCode ?? 0, result: id ?? detail ?? '', applied });
      });
    });
    sent.on('error', reject).end();
  });
}

/** Returns the ids that 60 equal requests are routed to. */
async function routeOften(search: string, ...headers: string[]): Promise<string[]> {
  const ids = new Set<string>();
  for (let n = 0; n < 60; n++) ids.add((await route(search, ...headers)).result);
  return [...ids].sort();
}

describe('GET /route with X-Anyserve-Selector', () => {
  it('chooses among the replicas that match the query and the selector', async () => {
    await register('r1', { type: 'chat', ctx: 4096 });
    await register('r2', { type: 'chat', ctx: 32768 });
    await register('r3', { type: 'chat', ctx: 131072 });
    await register('r4', { type: 'embed', ctx: 131072 });
    expect(await routeOften('?type=chat', 'X-Anyserve-Selector', 'ctx>=8192')).toEqual(['r2', 'r3']);
    expect(await routeOften('', 'X-Anyserve-Selector', 'type%3Dchat%2Cctx%3C%3D32768')).toEqual(['r1', 'r2']);
    expect(await routeOften('?type=chat', 'x-anyserve-selector', 'ctx notin (4096,32768)')).toEqual(['r3']);
  });

  it('confirms that it applied the selector, also if nothing matches', async () => {
    await register('r1', { type: 'chat' });
    expect(await route('', 'X-Anyserve-Selector', 'type')).toEqual({ status: 200, result: 'r1', applied: 'applied' });
    const none = { status: 404, result: 'no matching replica', applied: 'applied' };
    expect(await route('', 'X-Anyserve-Selector', '!type')).toEqual(none);
    expect(await route('?type=embed', 'X-Anyserve-Selector', 'type')).toEqual(none);
    expect((await route('?type=chat')).applied).toBeUndefined();
  });

  it('requires the terms of all headers with that name', async () => {
    await register('r1', { type: 'chat', gpu: 'a100' });
    await register('r2', { type: 'chat', gpu: 'h100' });
    await register('r3', { type: 'embed', gpu: 'h100' });
    const headers = ['X-Anyserve-Selector', 'gpu=h100', 'X-Anyserve-Selector', 'type=chat'];
    expect(await routeOften('', ...headers)).toEqual(['r2']);
  });

  it('responds with 400 to a selector that can not be parsed, and points at the character', async () => {
    expect(await route('', 'X-Anyserve-Selector', 'type=chat,%C3%A9 x')).toEqual({
      status: 400,
      result:
        'x-anyserve-selector: expected an operator ("=", "!=", "in", "notin", ">", ">=", "<", "<="), "," or the end at ' +
        'character 13, but found "x"',
      applied: undefined,
    });
    expect((await route('', 'X-Anyserve-Prefer', 'a=')).result).toBe(
      'x-anyserve-prefer: expected a value ("" is the empty one) at character 3, but the selector ends there',
    );
  });

  it('chooses an excluded replica only if no other matches', async () => {
    await register('r1', { ctx: 1 });
    await register('r2', { ctx: 2 });
    const exclude = ['X-Anyserve-Exclude', 'r1'];
    expect(await routeOften('', 'X-Anyserve-Selector', 'ctx>0', ...exclude)).toEqual(['r2']);
    expect(await routeOften('', 'X-Anyserve-Selector', 'ctx<2', ...exclude)).toEqual(['r1']);
  });

  it('follows changes of the replicas at once', async () => {
    const lease = await register('r1', { ctx: 1 });
    const ask = async (): Promise<string> => (await route('', 'X-Anyserve-Selector', 'ctx>0')).result;
    for (let n = 0; n < 3; n++) expect(await ask()).toBe('r1');
    await server.registry.renew(lease, 'unready');
    expect(await ask()).toBe('no matching replica');
    await server.registry.renew(lease, 'ready');
    expect(await ask()).toBe('r1');
    await register('r1', { ctx: 0 });
    expect(await ask()).toBe('no matching replica');
    await register('r2', { ctx: 5 });
    expect(await ask()).toBe('r2');
  });

  it('finishes a search among many replicas in several turns of the event loop', async () => {
    for (let n = 0; n < 30_000; n++) await register(`r${n}`, { ctx: n });
    const { registry } = server;
    const search = registry.search.bind(registry);
    const turns: number[] = [];
    let turn = 0;
    registry.search = (...args) => {
      turns.push(turn);
      // The next search must not happen before this.
      setImmediate(() => turn++);
      return search(...args);
    };
    expect((await route('', 'X-Anyserve-Selector', 'ctx>=29999')).result).toBe('r29999');
    expect(turns.length).toBeGreaterThan(5);
    expect(new Set(turns).size).toBe(turns.length);
    expect((await route('', 'X-Anyserve-Selector', 'ctx>30000')).result).toBe('no matching replica');
  });
});

describe('GET /route with X-Anyserve-Prefer', () => {
  it('chooses preferred matches first, and others if there are none or all of them are excluded', async () => {
    await register('near', { type: 'chat', zone: 'a' });
    await register('far', { type: 'chat', zone: 'b' });
    await register('other', { type: 'embed', zone: 'c' });
    expect(await routeOften('?type=chat', 'X-Anyserve-Prefer', 'zone=a')).toEqual(['near']);
    expect(await routeOften('?type=chat', 'X-Anyserve-Prefer', 'zone=c')).toEqual(['far', 'near']);
    expect(await routeOften('?type=chat', 'X-Anyserve-Prefer', 'zone=a', 'X-Anyserve-Exclude', 'near')).toEqual([
      'far',
    ]);
    const both = ['X-Anyserve-Prefer', 'zone=a', 'X-Anyserve-Selector', 'zone!=a'];
    expect(await routeOften('?type=chat', ...both)).toEqual(['far']);
  });
});

describe('GET /watch with X-Anyserve-Selector', () => {
  async function watchSynced(search: string, selector: string): Promise<RawWatch> {
    const opened = openWatch(server.port, { search, headers: `X-Anyserve-Selector: ${selector}\r\n` });
    watches.push(opened);
    await until('the snapshot is complete', () => opened.summarize().includes('synced'));
    return opened;
  }

  it('sends the matches, and their changes', async () => {
    await register('r1', { type: 'chat', ctx: 4096 });
    await register('r2', { type: 'chat', ctx: 8192 });
    const opened = await watchSynced('?type=chat', 'ctx%3E=8192');
    expect(opened.received().toLowerCase()).toContain('\r\nx-anyserve-selector: applied\r\n');
    await register('r1', { type: 'chat', ctx: 16384 });
    await register('r3', { type: 'chat', ctx: 1 });
    await register('r2', { type: 'chat', ctx: 1 });
    await until('there are 5 events', () => opened.events().length >= 5);
    expect(opened.summarize()).toEqual([
      'snapshot false',
      'put r2 ready',
      'synced',
      'put r1 ready',
      'removed r2 no-longer-matches',
    ]);
  });

  it('sends different streams for different selectors with the same query', async () => {
    await register('r1', { ctx: 1 });
    await register('r2', { ctx: 2 });
    const [first, second] = [await watchSynced('', 'ctx<2'), await watchSynced('', 'ctx>1')];
    expect(first.summarize()).toContain('put r1 ready');
    expect(second.summarize()).toEqual(['snapshot false', 'put r2 ready', 'synced']);
  });

  it('responds with 400 to a selector that can not be parsed', async () => {
    const response = await fetch(`${server.url}/watch`, { headers: { 'x-anyserve-selector': 'a=' } });
    expect(response.status).toBe(400);
    const detail =
      'x-anyserve-selector: expected a value ("" is the empty one) at character 3, but the selector ends there';
    expect(await response.json()).toEqual({ detail });
  });
});
