import type { Clock } from '../core/ports.js';
import type { Renewal } from '../core/registry.js';
import type { DeclaredState } from '../core/replica.js';
import { sleep } from './sleep.js';

/** What renewals need. */
export interface RenewalsOptions {
  /** Renews the lease once; rejects when the server does not answer. */
  readonly renew: (state: DeclaredState, signal: AbortSignal) => Promise<Renewal>;
  /** How long the lease lasts without one, in milliseconds. */
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Told once, when the server says that the lease is no more. */
  readonly onEnd: (end: Exclude<Renewal, 'renewed'>) => void;
}

/** So many in the time that a lease lasts: two may be lost. */
const PER_TTL = 3;

/** Keeps a two-way lease from running out, and tells the server what the replica says of itself. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #stop = new AbortController();
  /** Ends the present pause, or the one after the renewal under way. */
  #hurry = new AbortController();
  #state: DeclaredState;

  constructor(state: DeclaredState, options: RenewalsOptions) {
    this.#state = state;
    this.#options = options;
  }

  /** Renews from now on; the grant itself was as good as a renewal, unless there is something to say. */
  start(): void {
    void this.#run();
  }

  /** Says at once that the replica's state is another. */
  declare(state: DeclaredState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#hurry.abort();
  }

  /** Renews no more. */
  stop(): void {
    this.#stop.abort();
    this.#hurry.abort();
  }

  async #run(): Promise<void> {
    const { renew, ttlMs, clock, onEnd } = this.#options;
    const { signal } = this.#stop;
    for (;;) {
      await sleep(clock, ttlMs / PER_TTL, this.#hurry.signal);
      if (signal.aborted) return;
      this.#hurry = new AbortController();
      // A renewal that is not answered is followed by the next; the stream of the lease tells when the server is gone.
      const renewal = await renew(this.#state, signal).catch(() => 'renewed' as const);
      if (signal.aborted) return;
      if (renewal !== 'renewed') return onEnd(renewal);
    }
  }
}
