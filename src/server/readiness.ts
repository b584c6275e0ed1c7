/** A condition for accepting registrations. */
export interface ReadinessCheck {
  /** Unique, in lower case with underscores. */
  readonly name: string;
  /** Why registrations can't be accepted now, in a few words; undefined when they can. Called for each registration. */
  reason(): string | undefined;
}

/** Whether the API server accepts registrations. It does when it is serving and every check passes. */
export class Readiness {
  #phase: 'starting' | 'serving' | 'draining' = 'starting';
  readonly #checks: readonly ReadinessCheck[];

  constructor(checks: readonly ReadinessCheck[] = []) {
    const phase = { name: 'phase', reason: () => (this.#phase === 'serving' ? undefined : this.#phase) };
    this.#checks = [phase, ...checks];
  }

  /** Why no registrations are accepted now, a reason for each check that fails; empty when they are accepted. */
  reasons(): string[] {
    return this.#checks.flatMap((check) => check.reason() ?? []);
  }

  /** Records that the server listens. */
  markServing(): void {
    this.#phase = 'serving';
  }

  /** Records that the server is about to end. */
  markDraining(): void {
    this.#phase = 'draining';
  }
}
