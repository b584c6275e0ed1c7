import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LeaseId } from '../../src/core/ids.js';
import type { LeaseTerms } from '../../src/core/lease-table.js';
import { TokenSet } from '../../src/credentials/token-set.js';
import { openRawConnection, startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { serializedReplica } from '../support/replicas.js';
import { collectGarbage } from '../support/retained-memory.js';
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

function watch(options: Parameters<typeof openWatch>[1] = {}): RawWatch {
  const opened = openWatch(server.port, options);
  watches.push(opened);
  return opened;
}

/** Opens a watch and waits for the end of its snapshot. */
async function watchSynced(options: Parameters<typeof openWatch>[1] = {}): Promise<RawWatch> {
  const opened = watch(options);
  await until('the snapshot is complete', () => opened.summarize().includes('synced'));
  return opened;
}

const register = (id: string, capability: Record<string, string>, terms: Partial<LeaseTerms> = {}): Promise<LeaseId> =>
  server.registry.register(serializedReplica(id, capability), { host: 'h', ttlMs: 60_000, ...terms }, () => {});

/** Waits until a watch has this number of events, and returns the last ones in short. */
async function waitForEvents(opened: RawWatch, count: number, last = count): Promise<string[]> {
  await until(
    () => `there are ${count} events: ${opened.summarize()}`,
    () => opened.events().length >= count,
  );
  return opened.summarize().slice(-last);
}

describe('a watch', () => {
  it('begins with a snapshot of all matches in any state, with rows as in GET /replicas', async () => {
    await register('r1', { type: 'chat' });
    await register('é2', { type: 'chat', text: 'a\nb' }, { state: 'unready' });
    await register('r3', { type: 'embed' });
    const opened = await watchSynced({ search: '?type=chat' });
    expect(opened.received().toLowerCase()).toMatch(
      /^http\/1.1 200 ok\r\n(?:[^\r]+\r\n)*content-type: text\/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n/,
    );
    expect(opened.summarize()).toEqual(['snapshot false', 'put r1 ready', 'put é2 unready', 'synced']);
    const { replicas } = (await (await fetch(`${server.url}/replicas`)).json()) as {
      replicas: { last_seen: number }[];
    };
    // Computed from two clocks, which are not read at the same instant.
    const rows = replicas.slice(0, 2).map((row) => ({ ...row, last_seen: expect.closeTo(row.last_seen, 2) }));
    expect(opened.events().flatMap(({ event, data }) => (event === 'put' ? [data] : []))).toEqual(rows);
    const { epoch, revision } = server.registry.changes;
    expect(opened.events().map(({ id }) => id)).toEqual([
      undefined,
      `${epoch}-0`,
      `${epoch}-0`,
      `${epoch}-${revision}`,
    ]);
  });

  it('sends each change of a match, and the removal of what no longer matches', async () => {
    const opened = await watchSynced({ search: '?type=chat' });
    const first = await register('r1', { type: 'chat' });
    await register('other', { type: 'embed' });
    await server.registry.renew(first, 'unready');
    await server.registry.renew(first, undefined, () => serializedReplica('r1', { type: 'embed' }));
    const second = await register('r1', { type: 'chat' });
    await server.registry.release(second, 'released');
    const events = await waitForEvents(opened, 7, 5);
    expect(events).toEqual([
      'put r1 ready',
      'put r1 unready',
      'removed r1 no-longer-matches',
      'put r1 ready',
      'removed r1 released',
    ]);
    const { epoch } = server.registry.changes;
    expect(
      opened
        .events()
        .slice(2)
        .map(({ id }) => id),
    ).toEqual([1, 3, 4, 5, 6].map((number) => `${epoch}-${number}`));
  });

  it('includes replicas without capabilities only without a filter', async () => {
    await server.registry.register(serializedReplica('none'), { host: 'h' }, () => {});
    expect((await watchSynced()).summarize()).toEqual(['snapshot false', 'put none ready', 'synced']);
    expect((await watchSynced({ search: '?a=b' })).summarize()).toEqual(['snapshot false', 'synced']);
  });

  it('continues after the last event of the client, even when there is nothing new', async () => {
    const opened = await watchSynced();
    const lease = await register('r1', { type: 'chat' });
    await waitForEvents(opened, 3);
    opened.socket.destroy();
    const lastEventId = opened.events().at(-1)?.id as string;
    const idle = watch({ lastEventId });
    expect(await waitForEvents(idle, 1)).toEqual(['synced']);
    await server.registry.renew(lease, 'draining');
    await server.registry.release(lease, 'closed');
    expect(await waitForEvents(idle, 3)).toEqual(['synced', 'put r1 draining', 'removed r1 closed']);
    const behind = watch({ lastEventId });
    expect(await waitForEvents(behind, 3)).toEqual(['put r1 draining', 'removed r1 closed', 'synced']);
  });

  it.each([
    ['of another process', 'other-epoch-1'],
    ['of a part of a snapshot', 'EPOCH-0'],
    ['of the future', 'EPOCH-99'],
    ['before anybody watched', 'EPOCH-1'],
    ['that is no id', 'x'],
  ])('begins with a snapshot after an event %s', async (_, id) => {
    await register('r1', { type: 'chat' });
    await register('r2', { type: 'chat' });
    const opened = await watchSynced({ lastEventId: id.replace('EPOCH', server.registry.changes.epoch) });
    expect(opened.summarize()).toEqual(['snapshot false', 'put r1 ready', 'put r2 ready', 'synced']);
  });

  it('ends after the head for HEAD', async () => {
    const { socket, received } = openRawConnection(server.port, 'HEAD /watch HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('it is complete', () => received().endsWith('\r\n\r\n'));
    expect(received()).toContain('content-type: text/event-stream');
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('the connection serves the next request', () => received().includes('healthy'));
    socket.destroy();
  });

  it('needs a read token if there are any', async () => {
    await server.close();
    const tokens = new TokenSet(['secret']);
    server = await startTestApiServer({ tokens: { read: () => tokens } });
    const refused = watch();
    await until('it is refused', () => refused.received().includes('401'));
    await watchSynced({ headers: 'Authorization: Bearer secret\r\n' });
  });

  it('is not a lease, and leaves nothing behind', async () => {
    const opened = await watchSynced();
    expect(server.registry.replicas()).toEqual([]);
    opened.socket.destroy();
    await register('r1', { type: 'chat' });
    expect(await (await fetch(`${server.url}/registry`)).text()).toContain('"r1"');
  });
});

describe('clients that read nothing', () => {
  it('take little memory, whatever changes, and are dropped', async () => {
    const filters = Array.from({ length: 20 }, (_, n) => `k${n}`);
    const slow = await Promise.all(filters.map((key) => watchSynced({ search: `?${key}=1` })));
    for (const { socket } of slow) socket.pause();
    collectGarbage();
    const before = process.memoryUsage();
    const capability = Object.fromEntries(filters.map((key) => [key, '1']));
    for (let n = 0; n < 200; n++) {
      await register('large', { ...capability, n: `${n}`, text: 'x'.repeat(500_000) });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // A line of the test's log has the endpoint as a part of the whole registration.
    server.log.lines.length = 0;
    collectGarbage();
    const after = process.memoryUsage();
    // 100 MB were registered, for each of 20 clients.
    expect(after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers).toBeLessThan(60e6);
    // The server looks for slow clients every second.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    for (const { socket } of slow) socket.resume();
    for (const one of slow) {
      await until('it has ended', one.isEnded);
      const [last = ''] = one.summarize().slice(-1);
      // A client that doesn't resume within 5 s doesn't get the reason.
      expect(last === 'put large ready' || last.startsWith('dropped this client reads too slowly'), last).toBe(true);
      expect(one.events().length).toBeLessThan(100);
    }
    const lastEventId = slow[1]?.events().findLast(({ id }) => id !== undefined)?.id as string;
    const resumed = await watchSynced({ search: '?k1=1', lastEventId });
    expect(resumed.summarize()).toEqual(['snapshot false', 'put large ready', 'synced']);
  });
});

describe('a server that has just started', () => {
  it('reports that it is warming, and once that it no longer is, including to a client that reconnects', async () => {
    await server.close();
    server = await startTestApiServer({ warmingMs: 2000 });
    await register('r1', { type: 'chat' });
    const opened = await watchSynced();
    const lastEventId = opened.events().at(-1)?.id as string;
    const resumed = watch({ lastEventId });
    expect(await waitForEvents(opened, 4)).toEqual(['snapshot true', 'put r1 ready', 'synced', 'warm']);
    expect(await waitForEvents(resumed, 2)).toEqual(['synced', 'warm']);
    expect(opened.events().at(-1)?.id).toBe(lastEventId);
    const late = await watchSynced();
    await register('r2', { type: 'chat' });
    expect(await waitForEvents(late, 4)).toEqual(['snapshot false', 'put r1 ready', 'synced', 'put r2 ready']);
    const missed = watch({ lastEventId });
    expect(await waitForEvents(missed, 3)).toEqual(['warm', 'put r2 ready', 'synced']);
    expect(opened.summarize().filter((event) => event === 'warm')).toEqual(['warm']);
  });
});

describe('a server that stops', () => {
  it('ends its streams over the drain, without the removals of its leases, and refuses new ones', async () => {
    for (let n = 0; n < 20; n++) await register(`r${n}`, { type: 'chat' });
    await Promise.all(Array.from({ length: 20 }, () => watchSynced()));
    const closed = server.close({ drainMs: 4000 });
    await until('some have ended', () => watches.some(({ isEnded }) => isEnded()));
    expect(watches.filter(({ isEnded }) => isEnded()).length).toBeLessThan(10);
    const refused = watch();
    await until('it is refused', () => refused.isEnded());
    expect(refused.received()).toMatch(/^HTTP\/1.1 503 [\s\S]*retry-after: 5[\s\S]*draining/);
    await closed;
    await until('all have ended', () => watches.every(({ isEnded }) => isEnded()));
    expect(watches.slice(0, 20).every((one) => one.summarize().at(-1) === 'synced')).toBe(true);
  });

  it('ends them at once without a drain', async () => {
    const opened = await watchSynced();
    await server.close();
    await until('it has ended', opened.isEnded);
    expect(opened.summarize()).toEqual(['snapshot false', 'synced']);
  });
});
