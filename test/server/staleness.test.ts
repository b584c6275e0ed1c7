import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SerializedReplica } from '../../src/api/serialized-replica.js';
import { asRegistryId } from '../../src/core/ids.js';
import { createStalenessReader } from '../../src/server/staleness.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { ManualClock } from '../support/manual-clock.js';
import { serializedReplica } from '../support/replicas.js';

/** A store whose copy of the registry is as old as a test says. */
class AgedStore extends MemoryStore<SerializedReplica> {
  stalenessMs: number | undefined;
}

let store: AgedStore;
let server: TestApiServer;

beforeEach(async () => {
  store = new AgedStore(asRegistryId('registry'));
  server = await startTestApiServer({ store });
  await server.registry.register(serializedReplica('r1', { type: 'chat' }), { host: 'h' }, () => {});
});

afterEach(() => server.close());

interface Answer {
  readonly status: number;
  readonly staleness: string | null;
  readonly detail: string | undefined;
}

async function get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${server.url}${path}`, { headers });
  const { detail } = (await response.json()) as { detail?: string };
  return { status: response.status, staleness: response.headers.get('x-anyserve-staleness-ms'), detail };
}

const PATHS = [
  ['/route?type=chat', 200],
  ['/route?type=other', 404],
  ['/registry', 200],
] as const;

describe.each(PATHS)('the response to %s', (path, status) => {
  it('has no header if the registry is not shared, and is never too old', async () => {
    expect(await get(path, { 'X-Anyserve-Max-Staleness-Ms': '0' })).toMatchObject({ status, staleness: null });
  });

  it.each([
    [12.3, '13'],
    [4567, '4567'],
    [Number.POSITIVE_INFINITY, 'unknown'],
  ])('says how old the copy of a shared registry can be: %d ms', async (stalenessMs, staleness) => {
    store.stalenessMs = stalenessMs;
    expect(await get(path)).toMatchObject({ status, staleness });
  });

  it('is a 503 if the copy can be older than the request allows', async () => {
    store.stalenessMs = 800;
    expect(await get(path, { 'x-anyserve-max-staleness-ms': '800' })).toMatchObject({ status, staleness: '800' });
    expect(await get(path, { 'x-anyserve-max-staleness-ms': '799' })).toEqual({
      status: 503,
      staleness: '800',
      detail: 'the registrations that this API server knows of other servers are 800 ms old; the request allows 799 ms',
    });
    store.stalenessMs = Number.POSITIVE_INFINITY;
    expect(await get(path, { 'x-anyserve-max-staleness-ms': '999999' })).toMatchObject({
      status: 503,
      detail: expect.stringContaining('are not complete yet; the request allows 999999 ms'),
    });
  });

  it('is a 400 if the maximum is not a number', async () => {
    for (const value of ['', '-1', '1.5', 'soon', '1, 2', '1e3']) {
      expect(await get(path, { 'x-anyserve-max-staleness-ms': value })).toMatchObject({
        status: 400,
        detail: `x-anyserve-max-staleness-ms: ${JSON.stringify(value)} is not a whole number of milliseconds; give one, such as 5000`,
      });
    }
  });
});

it('route requests within 50 ms get the staleness at the end of these 50 ms, because the clock is read once', () => {
  const clock = new ManualClock();
  const registry = {
    get stalenessMs() {
      return 100 + clock.nowMs();
    },
  };
  const startMs = registry.stalenessMs;
  const read = createStalenessReader(registry, clock);
  const readAll = (): number[] => [read(), read(), read()].map((value) => Number(value) - startMs);
  expect(readAll()).toEqual([0, 50, 50]);
  clock.advance(49);
  expect(readAll()).toEqual([50, 50, 50]);
  clock.advance(21);
  expect(readAll()).toEqual([70, 120, 120]);
});

it('a route request with a selector has both headers', async () => {
  store.stalenessMs = 5;
  const headers = { 'x-anyserve-selector': 'type%3Dchat' };
  expect(await get('/route', headers)).toMatchObject({ status: 200, staleness: '5' });
  expect(await get('/route', { ...headers, 'x-anyserve-max-staleness-ms': '4' })).toMatchObject({ status: 503 });
});
