/**
 * Registries that are claimed, each by one holder: API servers that share a registry must get one lease, not one each.
 * A registry is identified by the id that its servers report.
 */
export class RegistryClaims<Holder extends object> {
  readonly #holders = new Map<string, Holder>();
  readonly #waiting = new Set<() => void>();

  /** Claims a registry, and gives up the holder's other claim. Returns false if another holder has it. */
  take(registry: string, holder: Holder): boolean {
    const current = this.#holders.get(registry);
    if (current === holder) return true;
    if (current) return false;
    this.release(holder);
    this.#holders.set(registry, holder);
    return true;
  }

  /** Gives up the claim of a holder. Without one, no waiting server is woken. */
  release(holder: Holder): void {
    let isReleased = false;
    for (const [registry, current] of this.#holders) {
      if (current === holder) isReleased = this.#holders.delete(registry);
    }
    if (isReleased) for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves when a claim is given up, or when the signal is aborted. */
  waitForRelease(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      if (signal.aborted) return resolve();
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
