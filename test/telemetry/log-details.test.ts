import { expect, it } from 'vitest';
import { asReplicaId } from '../../src/core/ids.js';
import { createScope } from '../../src/core/scope.js';
import { toLogDetails } from '../../src/telemetry/log-details.js';

const replicaId = asReplicaId('r1');

it('an ended lease gives its host, and how long it lived and was silent', () => {
  const lease = { host: '10.0.0.1', livedMs: 61_000.4, silentMs: 9010.2 };
  expect(toLogDetails({ kind: 'removed', replicaId, reason: 'expired', lease })).toEqual({
    event: 'removed',
    replica: 'r1',
    reason: 'expired',
    host: '10.0.0.1',
    lived_ms: 61_000,
    last_seen_ms: 9010,
  });
});

it('a lease of another server gives no such fields', () => {
  const details = toLogDetails({ kind: 'removed', replicaId, reason: undefined, lease: undefined });
  expect(JSON.stringify(details)).toBe('{"event":"removed","replica":"r1"}');
});

it('other names are in snake_case', () => {
  const event = { kind: 'suspicion_ended', replicaId, host: 'h', state: 'ready', silentMs: 1500.7 } as const;
  expect(toLogDetails(event)).toEqual({
    event: 'suspicion_ended',
    replica: 'r1',
    host: 'h',
    state: 'ready',
    silent_ms: 1501,
  });
});

it('the scope of the token is not logged when a registration is refused', () => {
  const refused = { replicaId, host: 'h', code: 'unavailable', reason: 'draining' } as const;
  const event = { kind: 'registration_refused', ...refused, scope: createScope([['tenant', 'a']]) } as const;
  expect(toLogDetails(event)).toEqual({
    event: 'registration_refused',
    replica: 'r1',
    host: 'h',
    code: 'unavailable',
    reason: 'draining',
  });
});
