import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { replica, withEndpoint } from '../support/replicas.js';
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

const GRPC = 'host:50051';
const URL_TEXT = 'http://host:8000/v1';

async function register(id: string, endpoint: string, ...capabilities: Record<string, string | number>[]) {
  const one = new SerializedReplica(withEndpoint(replica(id, ...capabilities), endpoint));
  return server.registry.register(one, { host: 'h' }, () => {});
}

interface Routed {
  readonly status: number;
  /** Id of the replica, or the detail of the error. */
  readonly result: string | undefined;
  readonly otherProtocol: string | null;
}

async function route(search: string, headers: Record<string, string> = {}): Promise<Routed> {
  const response = await fetch(`${server.url}/route${search}`, { headers });
  const { replica_id: id, detail } = (await response.json()) as { replica_id?: string; detail?: string };
  return { status: response.status, result: id ?? detail, otherProtocol: response.headers.get('x-anyserve-protocol') };
}

/** Returns the ids that 40 equal requests are routed to. */
async function routeOften(search: string, headers: Record<string, string> = {}): Promise<(string | undefined)[]> {
  const ids = new Set<string | undefined>();
  for (let n = 0; n < 40; n++) ids.add((await route(search, headers)).result);
  return [...ids].sort();
}

const [ASK_GRPC, ASK_HTTP] = [{ 'X-Anyserve-Protocol': 'grpc' }, { 'x-anyserve-protocol': 'http' }];

describe('GET /route with X-Anyserve-Protocol', () => {
  beforeEach(async () => {
    await register('g1', GRPC, { type: 'chat', ctx: 1 });
    await register('g2', GRPC, { type: 'chat', ctx: 2 });
    await register('h1', URL_TEXT, { type: 'chat', ctx: 1 }, { type: 'embed' });
    await register('h2', 'HTTPS://host', { type: 'chat', ctx: 2 });
  });

  it('chooses among the replicas with that protocol', async () => {
    expect(await routeOften('?type=chat', ASK_GRPC)).toEqual(['g1', 'g2']);
    expect(await routeOften('?type=chat', ASK_HTTP)).toEqual(['h1', 'h2']);
    expect(await routeOften('', ASK_HTTP)).toEqual(['h1', 'h2']);
  });

  it('can be combined with the other headers', async () => {
    expect(await routeOften('', { ...ASK_HTTP, 'X-Anyserve-Selector': 'ctx>=2' })).toEqual(['h2']);
    expect(await routeOften('', { ...ASK_GRPC, 'X-Anyserve-Selector': 'ctx>=2' })).toEqual(['g2']);
    expect(await routeOften('?type=chat', { ...ASK_HTTP, 'X-Anyserve-Prefer': 'ctx=1' })).toEqual(['h1']);
    expect(await routeOften('?type=chat', { ...ASK_HTTP, 'X-Anyserve-Exclude': 'h1' })).toEqual(['h2']);
    expect(await routeOften('?type=chat', { ...ASK_HTTP, 'X-Anyserve-Exclude': 'h1,h2' })).toEqual(['h1', 'h2']);
  });

  it('names the protocol of the replicas that match otherwise', async () => {
    const none = { status: 404, result: 'no matching replica' };
    expect(await route('?type=embed', ASK_GRPC)).toEqual({ ...none, otherProtocol: 'http' });
    expect(await route('?type=embed', { ...ASK_GRPC, 'X-Anyserve-Selector': 'type' })).toEqual({
      ...none,
      otherProtocol: 'http',
    });
    expect(await route('?type=x', ASK_GRPC)).toEqual({ ...none, otherProtocol: null });
    expect(await route('?type=x', { ...ASK_GRPC, 'X-Anyserve-Selector': 'type' })).toEqual({
      ...none,
      otherProtocol: null,
    });
  });

  it.each(['/route', '/watch', '/explain'])('is a 400 with one line at %s if it is not a protocol', async (path) => {
    const response = await fetch(`${server.url}${path}`, { headers: { 'x-anyserve-protocol': 'gprc' } });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      detail: 'x-anyserve-protocol: "gprc" is not a protocol; give grpc or http',
    });
  });
});

describe('GET /route without X-Anyserve-Protocol', () => {
  it('chooses a URL only if no other replica matches', async () => {
    await register('h1', URL_TEXT, { type: 'chat', ctx: 9 }, { type: 'embed' });
    expect(await routeOften('?type=chat')).toEqual(['h1']);
    await register('g1', GRPC, { type: 'chat', ctx: 1 });
    expect(await routeOften('?type=chat')).toEqual(['g1']);
    expect(await routeOften('')).toEqual(['g1']);
    expect(await routeOften('?type=embed')).toEqual(['h1']);
    expect(await routeOften('', { 'X-Anyserve-Selector': 'ctx>0' })).toEqual(['g1']);
    expect(await routeOften('', { 'X-Anyserve-Selector': 'ctx>1' })).toEqual(['h1']);
    expect(await routeOften('?type=chat', { 'X-Anyserve-Prefer': 'ctx=9' })).toEqual(['g1']);
  });

  it('returns an excluded replica rather than a URL, which its caller may not be able to call', async () => {
    await register('h1', URL_TEXT, { type: 'chat' });
    await register('g1', GRPC, { type: 'chat' });
    expect(await routeOften('?type=chat', { 'X-Anyserve-Exclude': 'g1' })).toEqual(['g1']);
  });

  it('gets the same bytes for no match, whatever the protocol of the other replicas', async () => {
    const request = 'GET /route?type=chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    const receive = async (): Promise<string> => {
      const { socket, received } = openRawConnection(server.port, request);
      await until('the response is complete', () => received().includes('"}'));
      socket.destroy();
      return received().replace(/Date: .*/, '');
    };
    const before = await receive();
    await register('h1', URL_TEXT, { type: 'embed' });
    expect(await receive()).toBe(before);
  });
});

describe('GET /explain with X-Anyserve-Protocol', () => {
  it('explains which replicas with that protocol match', async () => {
    await register('g1', GRPC, { type: 'chat' });
    await register('h1', URL_TEXT, { type: 'chat' });
    const explain = async (headers: Record<string, string> = {}): Promise<Record<string, unknown>> =>
      (await (await fetch(`${server.url}/explain?type=chat`, { headers })).json()) as Record<string, unknown>;
    expect(await explain(ASK_HTTP)).toMatchObject({
      message: '1 ready HTTP replica offers {"type":"chat"}: "h1"',
      candidates: { replicas: [{ replica_id: 'h1' }] },
      protocol: 'http',
      other_protocol: { protocol: 'grpc', count: 1, replicas: [{ replica_id: 'g1' }] },
    });
    expect(await explain()).toMatchObject({
      candidates: { replicas: [{ replica_id: 'g1' }] },
      other_protocol: { protocol: 'http' },
    });
    expect(await explain()).not.toHaveProperty('protocol');
  });
});

describe('GET /watch with X-Anyserve-Protocol', () => {
  async function watchSynced(headers = '', search = ''): Promise<RawWatch> {
    const opened = openWatch(server.port, { headers, search });
    watches.push(opened);
    await until('the snapshot is complete', () => opened.summarize().includes('synced'));
    return opened;
  }

  it('sends the replicas with that protocol, and their changes', async () => {
    await register('g1', GRPC, { type: 'chat' });
    await register('h1', URL_TEXT, { type: 'chat' });
    await register('h2', URL_TEXT);
    const [grpc, http, any] = [
      await watchSynced('X-Anyserve-Protocol: grpc\r\n', '?type=chat'),
      await watchSynced('X-Anyserve-Protocol: http\r\n'),
      await watchSynced('', '?type=chat'),
    ];
    expect(grpc.summarize()).toEqual(['snapshot false', 'put g1 ready', 'synced']);
    expect(http.summarize()).toEqual(['snapshot false', 'put h1 ready', 'put h2 ready', 'synced']);
    expect(any.summarize()).toEqual(['snapshot false', 'put g1 ready', 'put h1 ready', 'synced']);
    await register('h1', GRPC, { type: 'chat' });
    await until('the change has arrived', () => [grpc, http, any].every((one) => one.events().length >= 4));
    expect(grpc.summarize().at(-1)).toBe('put h1 ready');
    expect(http.summarize().at(-1)).toBe('removed h1 no-longer-matches');
    expect(any.summarize().at(-1)).toBe('put h1 ready');
  });
});
