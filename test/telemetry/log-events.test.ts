import { describe, expect, it } from 'vitest';
import { asEndpoint, asReplicaId } from '../../src/core/ids.js';
import type { RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import { logEvents } from '../../src/telemetry/log-events.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

const about = { replicaId: asReplicaId('r1'), host: 'h' };
const REFUSED = { kind: 'registration_refused', ...about, code: 'unavailable', reason: 'full' } as const;

const STATE = { kind: 'state_changed', ...about, state: 'draining' } as const;

describe('the log', () => {
  it.each<[RegistryEvent | ServerEvent, string]>([
    [{ kind: 'registered', ...about, endpoint: asEndpoint('a:1') }, 'registered "r1" at a:1'],
    [{ kind: 'state_changed', ...about, state: 'draining' }, '"r1" is draining'],
    [{ kind: 'capabilities_changed', ...about, count: 2 }, '"r1" now offers 2 capability objects'],
    [
      { kind: 'removed', ...about, reason: 'expired', lease: { host: 'h', livedMs: 61_000, silentMs: 9010 } },
      'removed "r1": expired (host h, lived 61.0 s, last seen 9.0 s before)',
    ],
    [{ kind: 'removed', ...about, reason: undefined, lease: undefined }, 'removed "r1": unknown reason'],
    [{ kind: 'cordoned', ...about, reason: 'bad GPU' }, 'cordoned "r1": bad GPU'],
    [{ kind: 'cordoned', ...about, reason: '' }, 'cordoned "r1"'],
    [{ kind: 'uncordoned', ...about }, 'uncordoned "r1"'],
    [{ kind: 'suspected', ...about, reason: 'expired' }, '"r1" is suspect: expired (host h)'],
    [
      { kind: 'suspicion_ended', ...about, state: 'ready', silentMs: 1500 },
      '"r1" is ready again after 1.5 s of silence',
    ],
    [{ kind: 'renewed_late', ...about, lateMs: 1500 }, '"r1" renewed its lease 1.5 s after its TTL'],
    [REFUSED, 'refused a registration of "r1" from h: full (unavailable)'],
    [{ kind: 'drain_started', leases: 3, durationMs: 5000 }, 'draining: ending 3 leases over 5.0 s'],
    [{ kind: 'drain_started', leases: 1, durationMs: 5000 }, 'draining: ending 1 lease over 5.0 s'],
    [{ kind: 'request_failed', method: 'GET', target: '/route', error: 'broken' }, 'GET /route failed: broken'],
  ])('writes one line for %o', (event, line) => {
    const log = createRecordingLog();
    logEvents(log, new ManualClock())(event);
    expect(log.lines).toEqual([line]);
  });

  it.each<[RegistryEvent | ServerEvent, RegistryEvent | ServerEvent]>([
    [REFUSED, { ...REFUSED, code: 'unauthenticated' }],
    [{ kind: 'list_value_offered', ...about, capability: '{}' }, REFUSED],
    [{ kind: 'unreachable_endpoint', ...about, endpoint: asEndpoint('a'), reason: '' }, REFUSED],
    [{ kind: 'request_failed', method: 'GET', target: '/route', error: 'broken' }, REFUSED],
    [{ kind: 'store_failed', error: 'broken' }, REFUSED],
    [STATE, { ...STATE, replicaId: asReplicaId('r2') }],
    [{ kind: 'capabilities_changed', ...about, count: 2 }, STATE],
    [{ kind: 'cordoned', ...about, reason: '' }, STATE],
  ])('is limited in lines like %o, and not in others', (event, other) => {
    const [log, clock] = [createRecordingLog(), new ManualClock()];
    const subscriber = logEvents(log, clock);
    for (let n = 0; n < 1000; n++) subscriber(event);
    expect(log.lines).toHaveLength(10);
    subscriber(other);
    expect(log.lines).toHaveLength(11);
    clock.advance(1000);
    expect(log.lines[11]).toBe(`${log.lines[0]} … and 989 more like this`);
  });

  it.each<RegistryEvent | ServerEvent>([
    { kind: 'registered', ...about, endpoint: asEndpoint('a:1') },
    { kind: 'removed', ...about, reason: 'expired', lease: undefined },
    { kind: 'self_preservation_entered' },
    { kind: 'drain_started', leases: 3, durationMs: 5000 },
  ])('has every line like %o', (event) => {
    const log = createRecordingLog();
    const subscriber = logEvents(log, new ManualClock());
    for (let n = 0; n < 1000; n++) subscriber(event);
    expect(log.lines).toHaveLength(1000);
  });
});
