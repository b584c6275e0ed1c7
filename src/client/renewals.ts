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

/** So many in the time that a lease lasts. */
const PER_TTL = 3;

/** After one that was not answered the next comes sooner: what swallowed it may have passed, and there is time to lose. */
const AGAIN_PER_TTL = 9;

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
    let pauseMs = ttlMs / PER_TTL;
    for (;;) {
      await sleep(clock, pauseMs, this.#hurry.signal);
      if (signal.aborted) return;
      this.#hurry = new AbortController();
      // When the server is gone, and not only an answer, the stream of the lease tells.
      const renewal = await renew(this.#state, signal).catch(() => undefined);
      if (signal.aborted) return;
      if (renewal !== undefined && renewal !== 'renewed') return onEnd(renewal);
      pauseMs = ttlMs / (renewal === undefined ? AGAIN_PER_TTL : PER_TTL);
    }
  }
}
