import { describe, expect, it } from 'vitest';
import {
  ALIVE_EVENT,
  formatRegisteredEvent,
  formatRenewedEvent,
  formatSupersededEvent,
  NOT_RENEWED_EVENT,
  parseLeaseEvent,
  RENEWED_EVENT,
} from '../../src/api/lease-events.js';
import { asInstanceId, asReplicaId } from '../../src/core/ids.js';

const parse = (event: string) => parseLeaseEvent(event.slice('data: '.length).trimEnd());

describe('lease events', () => {
  it('have the whitespace of the Python server', () => {
    expect(formatRegisteredEvent(asReplicaId('r1'))).toBe('data: {"status": "registered", "replica_id": "r1"}\n\n');
    expect(formatSupersededEvent(asReplicaId('r1'))).toBe('data: {"status": "superseded", "replica_id": "r1"}\n\n');
    expect(formatSupersededEvent(asReplicaId('r1'), { id: asInstanceId('a1'), startedMs: 7 })).toBe(
      'data: {"status": "superseded", "replica_id": "r1", "instance": {"id": "a1", "startedMs": 7}}\n\n',
    );
    expect(ALIVE_EVENT).toBe('data: {"status": "alive"}\n\n');
  });

  it('escape everything except printable ASCII', () => {
    expect(formatRegisteredEvent(asReplicaId('é\n😀/"\\\u007f'))).toBe(
      'data: {"status": "registered", "replica_id": "\\u00e9\\n\\ud83d\\ude00/\\"\\\\\\u007f"}\n\n',
    );
  });

  it('name the process that superseded a registration, if they can', () => {
    const by = { id: asInstanceId('a1'), startedMs: 7 };
    expect(parse(formatSupersededEvent(asReplicaId('r1'), by))).toEqual({ status: 'superseded', by });
    expect(parse(formatSupersededEvent(asReplicaId('r1')))).toEqual({ status: 'superseded', by: undefined });
  });

  it('respond to a renewal with the cordon that the server knows', () => {
    const cordon = { cordoned: true, reason: 'disk full', atMs: 7 };
    expect(parse(formatRenewedEvent(cordon))).toEqual({ status: 'renewed', cordon });
    expect(parse(RENEWED_EVENT)).toEqual({ status: 'renewed', cordon: undefined });
    expect(parse(NOT_RENEWED_EVENT)).toEqual({ status: 'not_renewed' });
  });

  it.each([
    ['{"status": "registered", "replica_id": "r1"}', 'registered'],
    ['{"status":"alive"}', 'alive'],
    ['{"status":"superseded"}', 'superseded'],
    ['{"status":"something new"}', 'unknown'],
    ['not JSON', 'unknown'],
    ['null', 'unknown'],
  ])('parses %s as %s', (data, event) => {
    expect(parseLeaseEvent(data).status).toBe(event);
  });
});
