import { describe, expect, it } from 'vitest';
import {
  HISTORY_EVENT_KINDS,
  parseHistory,
  parseReceivedEvent,
  serializeHistoryEvent,
} from '../../src/api/event-json.js';
import { asEndpoint, asReplicaId } from '../../src/core/ids.js';
import type { RegistryEvent } from '../../src/core/ports.js';
import { measureRetainedBytes } from '../support/retained-memory.js';

const replicaId = asReplicaId('r1');
const host = '10.0.0.1';
const STAMP = { seq: 7, atMs: 1_700_000_000_000.4 };

/** One event of each kind, and its members after `seq`, `at` and `kind`. */
const EVENTS: readonly (readonly [RegistryEvent, Readonly<Record<string, unknown>>])[] = [
  [
    { kind: 'registered', replicaId, endpoint: asEndpoint('h:1') },
    { replica_id: 'r1', endpoint: 'h:1' },
  ],
  [
    { kind: 'state_changed', replicaId, state: 'unready' },
    { replica_id: 'r1', state: 'unready' },
  ],
  [
    { kind: 'capabilities_changed', replicaId, count: 3 },
    { replica_id: 'r1', count: 3 },
  ],
  [
    { kind: 'removed', replicaId, reason: 'expired', lease: { host, livedMs: 1234.5, silentMs: 99.6 } },
    { replica_id: 'r1', reason: 'expired', host, lived_ms: 1235, silent_ms: 100 },
  ],
  [
    { kind: 'suspected', replicaId, host, reason: 'unacknowledged' },
    { replica_id: 'r1', reason: 'unacknowledged', host },
  ],
  [
    { kind: 'suspicion_ended', replicaId, host, state: 'ready', silentMs: 2000.2 },
    { replica_id: 'r1', state: 'ready', host, silent_ms: 2000 },
  ],
  [
    { kind: 'renewed_late', replicaId, host, lateMs: 10.9 },
    { replica_id: 'r1', host, late_ms: 11 },
  ],
  [
    { kind: 'cordoned', replicaId, reason: 'new disk' },
    { replica_id: 'r1', reason: 'new disk' },
  ],
  [{ kind: 'uncordoned', replicaId }, { replica_id: 'r1' }],
  [{ kind: 'id_conflict', replicaId }, { replica_id: 'r1' }],
  [
    { kind: 'registration_refused', replicaId, host, code: 'unavailable', reason: 'full' },
    { replica_id: 'r1', code: 'unavailable', reason: 'full', host },
  ],
  [{ kind: 'self_preservation_entered' }, {}],
  [{ kind: 'self_preservation_left' }, {}],
];

describe('an event of the history', () => {
  it.each(EVENTS)('has the members of its kind: %j', (event, members) => {
    const serialized = serializeHistoryEvent(event, STAMP);
    const id = 'replicaId' in event ? event.replicaId : undefined;
    const isRefusal = event.kind === 'registration_refused';
    expect(serialized).toMatchObject({ kind: event.kind, replicaId: id, isRefusal });
    const sent = JSON.parse(serialized?.data ?? '');
    expect(sent).toEqual({ seq: 7, at: 1_700_000_000_000, kind: event.kind, ...members });
    const received = { seq: 7, atMs: 1_700_000_000_000, kind: event.kind, replicaId: id, members: sent };
    expect(parseReceivedEvent(serialized?.data ?? '')).toEqual(received);
  });

  it('is of a kind that is tested', () => {
    const tested: readonly string[] = EVENTS.map(([{ kind }]) => kind);
    expect(HISTORY_EVENT_KINDS.filter((kind) => !tested.includes(kind))).toEqual([]);
  });

  it('has no reason and no lease if they are unknown', () => {
    const removed = serializeHistoryEvent({ kind: 'removed', replicaId, reason: undefined, lease: undefined }, STAMP);
    expect(JSON.parse(removed?.data ?? '')).toMatchObject({ replica_id: 'r1', reason: null });
    const refused = { kind: 'registration_refused', replicaId: undefined, host, code: 'usage', reason: 'x' } as const;
    expect(JSON.parse(serializeHistoryEvent(refused, STAMP)?.data ?? '')).not.toHaveProperty('replica_id');
  });

  it('is not made for events of the server, or for failures of the store', () => {
    expect(serializeHistoryEvent({ kind: 'store_failed', error: 'x' }, STAMP)).toBeUndefined();
    expect(serializeHistoryEvent({ kind: 'drain_started', leases: 1, durationMs: 1 }, STAMP)).toBeUndefined();
  });

  it('has a short reason, and keeps no memory of the request that it quotes', () => {
    let kept: readonly ReturnType<typeof serializeHistoryEvent>[] = [];
    const retainedBytes = measureRetainedBytes(() => {
      kept = Array.from({ length: 100 }, (_, n) => {
        const body = `${n}`.padEnd(1024 * 1024, 'x');
        const quoted = { replicaId: asReplicaId(body.slice(0, 100)), reason: body.slice(0, 2000) };
        return serializeHistoryEvent({ kind: 'registration_refused', host, code: 'usage', ...quoted }, STAMP);
      });
      return kept;
    });
    expect(retainedBytes).toBeLessThan(1024 * 1024);
    for (const one of kept) expect(one?.data.length).toBeLessThan(600);
  });
});

describe('a received history', () => {
  it('keeps kinds and members of newer servers, and omits entries that are not events', () => {
    const event = { seq: 1, at: 2, kind: 'new', extra: [1] };
    const text = JSON.stringify({ epoch: 'e', events: [event, 1, { seq: 1 }], more: 1 });
    expect(parseHistory(text)).toEqual({
      epoch: 'e',
      events: [{ seq: 1, atMs: 2, kind: 'new', replicaId: undefined, members: event }],
    });
  });

  it.each(['', '[]', '{"events":[]}', '{"epoch":"e"}', '{"epoch":1,"events":[]}'])('is not %j', (text) => {
    expect(parseHistory(text)).toBeUndefined();
  });
});
