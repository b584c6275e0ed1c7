import { expect, it } from 'vitest';
import type { ListedReplica } from '../../../src/api/replica-list-json.js';
import type { WatchEvent } from '../../../src/api/watch-events.js';
import { pollRegistry } from '../../../src/client/balancing/registry-poller.js';
import { EMPTY_SELECTOR } from '../../../src/core/selector.js';
import { ManualClock } from '../../support/manual-clock.js';
import { listReplica, query, replica } from '../../support/replicas.js';
import { until } from '../../support/until.js';

/** Polls lists that a test sets, and records the events as short texts. */
function startPolling() {
  const clock = new ManualClock();
  const stop = new AbortController();
  const server = { list: [] as string[], bytes: 100, requests: 0, isDown: false };
  const events: string[] = [];
  const createListed = (id: string): ListedReplica => {
    const row = { state: undefined, stateAgeMs: undefined, lastSeenAgeMs: undefined };
    return listReplica(replica(id, { type: id.startsWith('chat') ? 'chat' : 'embed' }), row);
  };
  const fetchList = async () => {
    server.requests++;
    if (server.isDown) throw new Error('down');
    return { replicas: server.list.map(createListed), bytes: server.bytes };
  };
  const format = (event: WatchEvent): string => {
    if (event.kind === 'put') return `put ${event.replica.replica.id}`;
    return event.kind === 'removed' ? `removed ${event.replicaId}` : event.kind;
  };
  const run = async (): Promise<void> => {
    const polled = pollRegistry({
      fetchList,
      filter: { query: query({ type: 'chat' }), selector: EMPTY_SELECTOR },
      clock,
      signal: stop.signal,
    });
    for await (const event of polled) events.push(format(event));
  };
  const take = (): string[] => events.splice(0);
  return { clock, stop, server, run, take };
}

it('sends a snapshot of the matching replicas, then changes once a second', async () => {
  const { clock, stop, server, run, take } = startPolling();
  server.list = ['chat1', 'embed1', 'chat2'];
  const ended = run();
  await until('it waits', () => clock.pending().length === 1);
  expect(take()).toEqual(['snapshot', 'put chat1', 'put chat2', 'synced']);
  server.list = ['chat2', 'chat3'];
  clock.advance(999);
  expect(server.requests).toBe(1);
  clock.advance(1);
  await until('it waits', () => clock.pending().length === 1);
  expect(take()).toEqual(['removed chat1', 'put chat2', 'put chat3']);
  stop.abort();
  await ended;
});

it('requests a list over 1 MiB every 5 s', async () => {
  const { clock, stop, server, run } = startPolling();
  server.bytes = 1024 * 1024 + 1;
  const ended = run();
  await until('it waits', () => clock.pending().length === 1);
  expect(clock.pending()).toEqual([5000]);
  stop.abort();
  await ended;
});

it('fails when the server does', async () => {
  const { server, run } = startPolling();
  server.isDown = true;
  await expect(run()).rejects.toThrow('down');
});
