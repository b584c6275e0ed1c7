import { describe, expect, it } from 'vitest';
import {
  formatDroppedEvent,
  formatLoadEvent,
  formatPutEvent,
  formatRemovedEvent,
  formatSnapshotEvent,
  formatSyncedEvent,
  formatWarmEvent,
  parseWatchEvent,
  serializeReplicaLoad,
} from '../../src/api/watch-events.js';
import { asReplicaId } from '../../src/core/ids.js';

const POSITION = { epoch: 'f81d-4fae', number: 7 };
const ROW = '{"replica_id":"r1","endpoint":"h:1","capabilities":[],"state":"ready","since":1.5}';

/** Returns the text of an event, and the event that a client parses from it. */
function parse(text: string) {
  const [, name, data] = /^(?:id: \S+\n)?event: (\S+)\ndata: (.*)\n\n$/.exec(text) ?? [];
  return [text, parseWatchEvent(name, data ?? '')];
}

describe('an event', () => {
  it('is parsed as it was formatted', () => {
    expect([
      parse(formatSnapshotEvent(true)),
      parse(formatSyncedEvent(POSITION)),
      parse(formatRemovedEvent(asReplicaId('r\n1'), 'no-longer-matches', POSITION)),
      parse(formatWarmEvent(POSITION)),
      parse(formatDroppedEvent('too slow')),
    ]).toEqual([
      ['event: snapshot\ndata: {"warming":true}\n\n', { kind: 'snapshot', isWarming: true }],
      ['id: f81d-4fae-7\nevent: synced\ndata: {}\n\n', { kind: 'synced' }],
      [
        'id: f81d-4fae-7\nevent: removed\ndata: {"replica_id":"r\\n1","reason":"no-longer-matches"}\n\n',
        { kind: 'removed', replicaId: 'r\n1', reason: 'no-longer-matches' },
      ],
      ['id: f81d-4fae-7\nevent: warm\ndata: {}\n\n', { kind: 'warm' }],
      ['event: dropped\ndata: {"reason":"too slow"}\n\n', { kind: 'dropped', reason: 'too slow' }],
    ]);
    const put = parse(formatPutEvent(ROW, POSITION));
    expect(put).toMatchObject([
      `id: f81d-4fae-7\nevent: put\ndata: ${ROW}\n\n`,
      { kind: 'put', replica: { replica: { id: 'r1', endpoint: 'h:1' }, state: 'ready', stateAgeMs: undefined } },
    ]);
  });

  it('with loads is parsed as it was formatted, without loads that are invalid', () => {
    const loads = [
      { replicaId: asReplicaId('r"1'), load: { running: 3, waiting: 0, limit: 4 } },
      { replicaId: asReplicaId('r2'), load: { running: 0, waiting: 7, limit: undefined } },
    ];
    const texts = loads.map(({ replicaId, load }) => serializeReplicaLoad(replicaId, load));
    const invalid = ['null', '5', '{"replica_id":"r3"}', '{"running":1,"waiting":1}', '[]'];
    expect(parse(formatLoadEvent([...texts, ...invalid]))).toEqual([
      'event: load\ndata: {"loads":[{"replica_id":"r\\"1","running":3,"waiting":0,"limit":4},' +
        `{"replica_id":"r2","running":0,"waiting":7},${invalid.join()}]}\n\n`,
      { kind: 'load', loads },
    ]);
  });

  it('is unknown if a newer server adds it, and none if its data is invalid', () => {
    expect([parseWatchEvent(undefined, '{}'), parseWatchEvent('future', 'x')]).toEqual(['unknown', 'unknown']);
    for (const [name, data] of [
      ['snapshot', '{"warming":1}'],
      ['put', '{"replica_id":"r1"}'],
      ['put', '[]'],
      ['removed', '{"reason":"closed"}'],
      ['removed', 'null'],
      ['load', '{}'],
      ['load', 'x'],
    ]) {
      expect(parseWatchEvent(name, data as string), data).toBeUndefined();
    }
  });

  it('has numbers as the server wrote them', () => {
    const row = ROW.replace('[]', '[{"seed":12345678901234567890}]');
    const event = parseWatchEvent('put', row) as { replica: { toText(): string } };
    expect(event.replica.toText()).toBe(row);
  });
});
