/** Whether the API server takes what comes, and why it does not. */
export interface Readiness {
  /** Why it takes no registrations now, each in a few words; empty when it does. */
  reasons(): string[];
  /** Says that it listens. */
  started(): void;
  /** Says that it is about to end. */
  draining(): void;
}

/** The readiness of a server that is starting. What else may be missing is asked each time: a reason, or undefined. */
export function createReadiness(missing: () => string | undefined): Readiness {
  let phase: 'starting' | 'serving' | 'draining' = 'starting';
  return {
    reasons: () => [...(phase === 'serving' ? [] : [phase]), missing() ?? []].flat(),
    started() {
      phase = 'serving';
    },
    draining() {
      phase = 'draining';
    },
  };
}
