import { describe, expect, it } from 'vitest';
import {
  diagnose,
  HEALTH_CHECK_INTERVAL_MS,
  HEALTH_CHECK_RETRY_MS,
  type HealthChange,
  type HealthCheckResult,
  UNKNOWN_HEALTH,
} from '../../src/core/health.js';

const RESPONDED: HealthCheckResult = { kind: 'responded' };
const createFailed = (reason = 'no response', tookMs = 1000): HealthCheckResult => ({ kind: 'failed', reason, tookMs });
const createRefused = (reason = 'nothing listens there'): HealthCheckResult => ({ kind: 'refused', reason, tookMs: 1 });

/** Returns the reported change after each check, and the delay of the next check. */
function recordChanges(...looks: HealthCheckResult[]): { changes: (HealthChange | undefined)[]; nextMs: number[] } {
  const changes: (HealthChange | undefined)[] = [];
  const nextMs: number[] = [];
  let health = UNKNOWN_HEALTH;
  for (const look of looks) {
    const diagnosis = diagnose(health, look);
    health = diagnosis.health;
    changes.push(diagnosis.change);
    nextMs.push(diagnosis.nextCheckMs);
  }
  return { changes, nextMs };
}

describe('the health of a server', () => {
  it('is reported once, and checked every 3 s', () => {
    expect(recordChanges(RESPONDED, RESPONDED, RESPONDED)).toEqual({
      changes: [{ kind: 'healthy' }, undefined, undefined],
      nextMs: [3000, 3000, 3000],
    });
  });

  it('is lost after three consecutive failures, with checks every second', () => {
    expect(
      recordChanges(RESPONDED, createFailed('a'), createFailed('b'), createFailed('c'), createFailed('d')),
    ).toEqual({
      changes: [{ kind: 'healthy' }, undefined, undefined, { kind: 'unhealthy', reason: 'c' }, undefined],
      nextMs: [
        HEALTH_CHECK_INTERVAL_MS,
        HEALTH_CHECK_RETRY_MS,
        HEALTH_CHECK_RETRY_MS,
        HEALTH_CHECK_RETRY_MS,
        HEALTH_CHECK_RETRY_MS,
      ],
    });
    expect(HEALTH_CHECK_RETRY_MS).toBe(1000);
  });

  it('is not lost after failures that are not consecutive', () => {
    const { changes } = recordChanges(
      RESPONDED,
      createFailed(),
      createFailed(),
      RESPONDED,
      createFailed(),
      createFailed(),
      RESPONDED,
    );
    expect(changes).toEqual([{ kind: 'healthy' }, ...Array(6).fill(undefined)]);
  });

  it('is lost after one failed check of 5 s, as long as three of 1 s take', () => {
    expect(
      recordChanges(RESPONDED, createFailed('late', 4999), createFailed('late', 4999), RESPONDED).changes.slice(1),
    ).toEqual(Array(3).fill(undefined));
    expect(recordChanges(RESPONDED, createFailed('late', 5000)).changes.at(-1)).toEqual({
      kind: 'unhealthy',
      reason: 'late',
    });
  });

  it('is lost after one refusal', () => {
    expect(recordChanges(RESPONDED, createRefused('gone')).changes).toEqual([
      { kind: 'healthy' },
      { kind: 'unhealthy', reason: 'gone' },
    ]);
  });

  it('is restored by one success', () => {
    expect(recordChanges(RESPONDED, createRefused(), createFailed(), RESPONDED).changes.at(-1)).toEqual({
      kind: 'healthy',
    });
  });

  it('is unknown until the first success, and each new reason is reported once', () => {
    const reasons = recordChanges(
      createRefused('a'),
      createRefused('a'),
      createFailed('b'),
      createFailed('b'),
      createFailed('b'),
      createFailed('b'),
      RESPONDED,
    ).changes;
    expect(reasons).toEqual([
      { kind: 'waiting', reason: 'a' },
      undefined,
      { kind: 'waiting', reason: 'b' },
      undefined,
      undefined,
      undefined,
      { kind: 'healthy' },
    ]);
  });
});
