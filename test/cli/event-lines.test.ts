import { describe, expect, it } from 'vitest';
import { formatEventDetails } from '../../src/api/event-details.js';
import { HISTORY_EVENT_KINDS, type ReceivedEvent } from '../../src/api/event-json.js';
import { mergeByTime } from '../../src/cli/event-lines.js';
import { toServer } from '../support/api-client.js';

const [A, B] = [toServer('http://a'), toServer('http://b')];

const createEvent = (kind: string, members: Readonly<Record<string, unknown>> = {}, atMs = 0): ReceivedEvent => ({
  seq: 1,
  atMs,
  kind,
  replicaId: undefined,
  members: { seq: 1, at: atMs, kind, ...members },
});

/** The details of each kind of event. */
const DETAILS: readonly (readonly [kind: string, members: Readonly<Record<string, unknown>>, details: string])[] = [
  ['registered', { replica_id: 'r1', endpoint: 'h:1' }, 'at h:1'],
  ['state_changed', { state: 'unready' }, 'unready'],
  ['capabilities_changed', { count: 3 }, 'offers 3 capability objects'],
  [
    'removed',
    { reason: 'expired', host: '10.0.0.1', lived_ms: 61_250, silent_ms: 15_000 },
    'expired, host 10.0.0.1, lived 61.3 s, last seen 15.0 s before',
  ],
  ['removed', { reason: null }, 'unknown reason'],
  ['suspected', { reason: 'unacknowledged', host: 'h' }, 'unacknowledged, host h'],
  ['suspicion_ended', { state: 'ready', host: 'h', silent_ms: 2000 }, 'ready again, after 2.0 s of silence, host h'],
  ['renewed_late', { host: 'h', late_ms: 1200 }, '1.2 s late, host h'],
  ['cordoned', { reason: 'new disk' }, 'new disk'],
  ['cordoned', { reason: '' }, ''],
  ['uncordoned', {}, ''],
  ['id_conflict', {}, 'it keeps changing owner: are two processes registering it?'],
  ['registration_refused', { code: 'unavailable', reason: 'full', host: 'h' }, 'full (unavailable), host h'],
  ['self_preservation_entered', {}, 'many replicas fell silent at once; they are kept as suspects'],
  ['self_preservation_left', {}, 'replicas that fall silent are removed again'],
  ['of_a_newer_server', { replica_id: 'r1', a: 'x', b: [1] }, 'a=x b=[1]'],
  ['constructor', { a: 1 }, 'a=1'],
  ['registered', { endpoint: [1] }, 'at [1]'],
];

describe('the details of an event', () => {
  it.each(DETAILS)('of kind %s with %j are: %s', (kind, members, details) => {
    expect(formatEventDetails(createEvent(kind, members))).toBe(details);
  });

  it('exist for each kind', () => {
    const kinds = new Set(DETAILS.map(([kind]) => kind));
    expect(HISTORY_EVENT_KINDS.filter((kind) => !kinds.has(kind))).toEqual([]);
  });

  it('of an unknown kind are limited', () => {
    expect(formatEventDetails(createEvent('new', { a: 'x'.repeat(10_000) })).length).toBe(500);
  });
});

describe('the events of several servers', () => {
  const merge = (a: readonly number[], b: readonly number[]): string[] =>
    mergeByTime([
      { server: A, events: a.map((atMs) => createEvent('k', {}, atMs)) },
      { server: B, events: b.map((atMs) => createEvent('k', {}, atMs)) },
    ]).map(({ server, event }) => `${server === A ? 'a' : 'b'}${event.atMs}`);

  it('are merged by time, and for equal times in the order of the servers', () => {
    expect(merge([1, 3, 5], [2, 3, 9])).toEqual(['a1', 'b2', 'a3', 'b3', 'a5', 'b9']);
  });

  it('of one server keep their order when its clock was set back', () => {
    expect(merge([5, 1, 7], [4, 6])).toEqual(['b4', 'a5', 'a1', 'b6', 'a7']);
  });
});
