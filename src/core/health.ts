/** The time between two looks at a server that is well. */
export const HEALTH_CHECK_INTERVAL_MS = 3000;

/** The time before the next look after one that failed. */
export const HEALTH_CHECK_RETRY_MS = 1000;

/** How long a look may take; what has not answered by then has failed. */
export const HEALTH_CHECK_TIMEOUT_MS = 1000;

/** So many failures in a row, of those that may pass, make a server unhealthy. */
const FAILURES_IN_A_ROW = 3;

/** How one look at a server went. A `refused` one says for certain that it takes no calls; a `failed` one may pass. */
export type HealthCheckResult =
  | { readonly kind: 'answered' }
  | { readonly kind: 'failed' | 'refused'; readonly reason: string };

/** What a look can change in what is known of a server. */
export type HealthChange =
  | { readonly kind: 'healthy' }
  /** It has not been healthy yet, for this reason. */
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'unhealthy'; readonly reason: string };

/** What is known of a server: how it is, and how many looks have failed since the last that did not. */
export type HealthState =
  | { readonly kind: 'unknown'; readonly reason: string | undefined }
  | { readonly kind: 'healthy'; readonly failures: number }
  | { readonly kind: 'unhealthy' };

/** What is known before the first look. */
export const UNKNOWN_HEALTH: HealthState = { kind: 'unknown', reason: undefined };

/** What a look makes of what was known, what is to be told of it, and when to look next. */
export interface Diagnosis {
  readonly health: HealthState;
  /** Undefined when there is no news. */
  readonly change: HealthChange | undefined;
  readonly nextCheckMs: number;
}

/**
 * Decides on a look. One that is answered makes a server healthy; one that is refused, or three that fail in a row, make
 * it unhealthy. No state is final. A server that was never healthy is waited for, and each new reason is told once.
 */
export function diagnose(health: HealthState, look: HealthCheckResult): Diagnosis {
  if (look.kind === 'answered') {
    const change = health.kind === 'healthy' ? undefined : ({ kind: 'healthy' } as const);
    return { health: { kind: 'healthy', failures: 0 }, change, nextCheckMs: HEALTH_CHECK_INTERVAL_MS };
  }
  const { reason } = look;
  const nextCheckMs = HEALTH_CHECK_RETRY_MS;
  switch (health.kind) {
    case 'unknown': {
      const change = reason === health.reason ? undefined : ({ kind: 'waiting', reason } as const);
      return { health: { kind: 'unknown', reason }, change, nextCheckMs };
    }
    case 'healthy': {
      const failures = health.failures + 1;
      if (look.kind === 'refused' || failures >= FAILURES_IN_A_ROW) {
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
