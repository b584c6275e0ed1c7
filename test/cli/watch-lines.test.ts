import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { parseListedReplica } from '../../src/api/replica-list-json.js';
import type { WatchEvent } from '../../src/api/watch-events.js';
import { formatListChange, formatWatchEventJson, ListTracker } from '../../src/cli/watch-lines.js';
import { asReplicaId } from '../../src/core/ids.js';

const IO = { stdout: new PassThrough(), env: {} };

function put(id: string, state = 'ready', capability: object = { type: 'chat' }, more: object = {}): WatchEvent {
  const row = { replica_id: id, endpoint: `${id}:1`, capabilities: [capability], state, ...more };
  const replica = parseListedReplica(JSON.stringify(row));
  if (!replica) throw new Error('the row is invalid');
  return { kind: 'put', replica };
}

const remove = (id: string, reason: string): WatchEvent => ({ kind: 'removed', replicaId: asReplicaId(id), reason });
const snapshot = (isWarming = false): WatchEvent => ({ kind: 'snapshot', isWarming });
const SYNCED: WatchEvent = { kind: 'synced' };

/** Applies events to one list. Returns the lines without their times. */
function createLines(): (...events: WatchEvent[]) => string[] {
  const list = new ListTracker();
  return (...events) =>
    events
      .flatMap((event) => list.apply(event))
      .map((change) => formatListChange(change, undefined, IO).replace(/^\d\d:\d\d:\d\d {2}(.*)\n$/, '$1'));
}

it('shows what is added, changed and removed, and nothing that is as before', () => {
  const lines = createLines();
  expect(lines(snapshot(), put('r1'), put('r2', 'unready'), SYNCED)).toEqual([
    '+ r1  ready  r1:1  type=chat',
    '+ r2  unready  r2:1  type=chat',
  ]);
  expect(lines(put('r1', 'ready', { type: 'chat' }, { last_seen: 7, lease: 'other' }))).toEqual([]);
  const cordon = { cordon: { cordoned: true, reason: 'disk', at: 1 } };
  expect(lines(put('r1', 'ready', { type: 'chat' }, cordon))).toEqual(['~ r1  ready,cordoned  r1:1  type=chat']);
  expect(lines(put('r1', 'draining'), put('r1', 'draining', { n: [1] }), remove('r1', 'released'))).toEqual([
    '~ r1  draining  r1:1  type=chat',
    '~ r1  draining  r1:1  n=[1]',
    '- r1  released',
  ]);
  expect(lines(remove('r1', 'released'), remove('r3', 'closed'))).toEqual([]);
});

it('shows what a new snapshot changed, and that of a server that has just started when it is warm', () => {
  const lines = createLines();
  lines(snapshot(), put('r1'), put('r2'), put('r3'), SYNCED);
  expect(lines(snapshot(), put('r1'), put('r2', 'unready'), SYNCED)).toEqual([
    '~ r2  unready  r2:1  type=chat',
    '- r3  left while the API server was not connected',
  ]);
  expect(lines(snapshot(true), put('r4'), SYNCED)).toEqual(['+ r4  ready  r4:1  type=chat']);
  expect(lines(put('r2', 'unready'), remove('r1', 'closed'), put('r3'))).toEqual([
    '- r1  closed',
    '+ r3  ready  r3:1  type=chat',
  ]);
  expect(lines({ kind: 'warm' })).toEqual([]);
  lines(snapshot(true), SYNCED);
  expect(lines({ kind: 'warm' }).length).toBe(3);
});

it('shows a change beyond the length of a line, escapes what a terminal would interpret, and names the server', () => {
  const lines = createLines();
  const [first = ''] = lines(put('r1', 'ready', { text: 'x'.repeat(2000) }));
  expect(first.length).toBeLessThan(1100);
  expect(lines(put('r1', 'ready', { text: `${'x'.repeat(2000)}y` })).length).toBe(1);
  const change = { sign: '-', replicaId: asReplicaId('r\u001b[1m'), text: 'closed' } as const;
  expect(formatListChange(change, 'http://a', IO)).toMatch(/ {2}- r\\u001b\[1m {2}closed {2}http:\/\/a\n$/);
});

it('has events as JSON, with rows as the server wrote them', () => {
  const row = '{"replica_id":"r1","endpoint":"r1:1","capabilities":[{"seed":12345678901234567890}]}';
  const replica = parseListedReplica(row);
  const events: WatchEvent[] = [
    snapshot(true),
    replica ? { kind: 'put', replica } : SYNCED,
    SYNCED,
    remove('r"1', 'closed'),
    { kind: 'warm' },
  ];
  expect(events.map((event) => formatWatchEventJson(event, 'http://a'))).toEqual([
    '{"event":"snapshot","server":"http://a","warming":true}\n',
    `{"event":"put","server":"http://a","replica":${row}}\n`,
    '{"event":"synced","server":"http://a"}\n',
    '{"event":"removed","server":"http://a","replica_id":"r\\"1","reason":"closed"}\n',
    '{"event":"warm","server":"http://a"}\n',
  ]);
});
