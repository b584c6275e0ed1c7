/** Time between two checks of a healthy server, in ms. */
export const HEALTH_CHECK_INTERVAL_MS = 3000;

/** Time between a failed check and the next one, in ms. */
export const HEALTH_CHECK_RETRY_MS = 1000;

/** Timeout of one check, in ms. A server that has not responded by then has failed it. */
export const HEALTH_CHECK_TIMEOUT_MS = 1000;

/** Number of consecutive failed checks after which a healthy server becomes unhealthy. */
const UNHEALTHY_FAILURES = 3;

/**
 * Minimum duration of a single failed check that makes a server unhealthy, in ms: the time of three checks with the default
 * timeout and the pauses between them. Some checks have a timeout of 10 s, so a frozen server would otherwise get calls for
 * 35 s.
 */
const UNHEALTHY_SILENCE_MS =
  UNHEALTHY_FAILURES * HEALTH_CHECK_TIMEOUT_MS + (UNHEALTHY_FAILURES - 1) * HEALTH_CHECK_RETRY_MS;

/**
 * Result of one health check. `refused`: the server certainly takes no calls. `failed`: the failure can be temporary. `tookMs` is
 * the duration of the check.
 */
export type HealthCheckResult =
  | { readonly kind: 'responded' }
  | { readonly kind: 'failed' | 'refused'; readonly reason: string; readonly tookMs: number };

/** A change of health that is worth reporting. */
export type HealthChange =
  | { readonly kind: 'healthy' }
  /** The server has not been healthy yet. */
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'unhealthy'; readonly reason: string };

/** Health of a server. `failures` is the number of failed checks since the last successful one. */
export type HealthState =
  | { readonly kind: 'unknown'; readonly reason: string | undefined }
  | { readonly kind: 'healthy'; readonly failures: number }
  | { readonly kind: 'unhealthy' };

/** The health before the first check. */
export const UNKNOWN_HEALTH: HealthState = { kind: 'unknown', reason: undefined };

/** The health after a check, the change to report, and the delay of the next check. */
export interface Diagnosis {
  readonly health: HealthState;
  /** Undefined if there is nothing new to report. */
  readonly change: HealthChange | undefined;
  readonly nextCheckMs: number;
}

/**
 * Computes the new health from a check. A successful check makes a server healthy. A refused check, three consecutive failed
 * ones, or a failed one that took 5 s make it unhealthy. Every state can change again. A server that was never healthy stays `unknown`, and each new reason is
 * reported once.
 */
export function diagnose(health: HealthState, result: HealthCheckResult): Diagnosis {
  if (result.kind === 'responded') {
    const change = health.kind === 'healthy' ? undefined : ({ kind: 'healthy' } as const);
    return { health: { kind: 'healthy', failures: 0 }, change, nextCheckMs: HEALTH_CHECK_INTERVAL_MS };
  }
  const { reason } = result;
  const nextCheckMs = HEALTH_CHECK_RETRY_MS;
  switch (health.kind) {
    case 'unknown': {
      const change = reason === health.reason ? undefined : ({ kind: 'waiting', reason } as const);
      return { health: { kind: 'unknown', reason }, change, nextCheckMs };
    }
    case 'healthy': {
      const failures = health.failures + 1;
      const isCertain = result.kind === 'refused' || result.tookMs >= UNHEALTHY_SILENCE_MS;
      if (isCertain || failures >= UNHEALTHY_FAILURES) {
        return { health: { kind: 'unhealthy' }, change: { kind: 'unhealthy', reason }, nextCheckMs };
      }
      return { health: { kind: 'healthy', failures }, change: undefined, nextCheckMs };
    }
    case 'unhealthy':
      return { health, change: undefined, nextCheckMs };
    default:
      return health satisfies never;
  }
}
