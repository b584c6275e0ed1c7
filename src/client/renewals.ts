import type { RenewalReport } from '../api/lease-renewal.js';
import type { Capability } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { RenewalStatus } from '../core/lease-renewals.js';
import type { Clock } from '../core/ports.js';
import type { DeclaredState } from '../core/replica.js';
import { sleep } from './async-waits.js';

/** What renewals need. */
export interface RenewalsOptions {
  /**
   * Renews the lease once. Rejects with `unprocessable` when the report is refused, with `resource_exhausted` when it
   * comes too soon or finds no room, and with anything else when the server does not answer.
   */
  readonly renew: (report: RenewalReport, signal: AbortSignal) => Promise<RenewalStatus>;
  /** How long the lease lasts without one, in milliseconds. */
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Called once, when the server says that the lease has ended. */
  readonly onEnd: (end: Exclude<RenewalStatus, 'renewed'>) => void;
  /** Called when the server has taken an offer, or with the error when it refuses it. */
  readonly onOffer: (offer: readonly Capability[], error?: AnyserveError) => void;
}

/** Renewals in the time that a lease lasts. */
const PER_TTL = 3;

/** After one that was not answered the next comes sooner: what swallowed it may have passed, and there is time to lose. */
const AGAIN_PER_TTL = 9;

/** Time after which an offer that came too soon, or found no room, is sent again. */
const OFFER_AGAIN_MS = 1000;

/** Keeps a two-way lease from running out, and reports the replica's state and what it offers. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #stop = new AbortController();
  /** Ends the present pause, or the one after the renewal under way. */
  #hurry = new AbortController();
  #state: DeclaredState;
  /** The newest offer that the server has not taken yet. */
  #offer: readonly Capability[] | undefined;
  #offerAtMs = 0;

  constructor(state: DeclaredState, options: RenewalsOptions) {
    this.#state = state;
    this.#options = options;
  }

  /** Renews from now on; the grant itself was as good as a renewal, unless there is something to report. */
  start(): void {
    void this.#run();
  }

  /** Reports another state of the replica at once. */
  declare(state: DeclaredState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#hurry.abort();
  }

  /** Reports another offer at once, or as soon as the server takes it; a newer one takes its place. */
  offer(offer: readonly Capability[]): void {
    this.#offer = offer;
    this.#hurry.abort();
  }

  /** Stops renewing. */
  stop(): void {
    this.#stop.abort();
    this.#hurry.abort();
  }

  async #run(): Promise<void> {
    const { ttlMs, clock, onEnd } = this.#options;
    const { signal } = this.#stop;
    let pauseMs = ttlMs / PER_TTL;
    for (;;) {
      const untilOfferMs = this.#offer ? Math.max(0, this.#offerAtMs - clock.nowMs()) : pauseMs;
      const waitMs = Math.min(pauseMs, untilOfferMs);
      if (waitMs > 0) await sleep(clock, waitMs, this.#hurry.signal);
      if (signal.aborted) return;
      this.#hurry = new AbortController();
      const renewal = await this.#renew();
      if (signal.aborted) return;
      if (renewal === 'superseded' || renewal === 'unknown') return onEnd(renewal);
      // When the server is gone, and not only an answer, the stream of the lease tells.
      pauseMs = renewal === 'refused' ? 0 : ttlMs / (renewal === undefined ? AGAIN_PER_TTL : PER_TTL);
    }
  }

  /** Sends one renewal; `refused`: the server took nothing of it because of its offer. */
  async #renew(): Promise<RenewalStatus | 'refused' | undefined> {
    const { renew, clock } = this.#options;
    const offer = clock.nowMs() >= this.#offerAtMs ? this.#offer : undefined;
    try {
      const report = offer ? { state: this.#state, capabilities: offer } : { state: this.#state };
      const renewal = await renew(report, this.#stop.signal);
      if (offer && renewal === 'renewed') this.#settle(offer);
      return renewal;
    } catch (error) {
      if (!offer || !(error instanceof AnyserveError) || this.#stop.signal.aborted) return undefined;
      this.#offerAtMs = clock.nowMs() + OFFER_AGAIN_MS;
      if (error.code === 'unprocessable') this.#settle(offer, error);
      return error.code === 'unprocessable' || error.code === 'resource_exhausted' ? 'refused' : undefined;
    }
  }

  /** Forgets an offer that was answered, unless there is a newer one. */
  #settle(offer: readonly Capability[], error?: AnyserveError): void {
    if (this.#offer === offer) this.#offer = undefined;
    this.#options.onOffer(offer, error);
  }
}
