import type { RenewalReport } from '../api/lease-renewal.js';
import type { Capability } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import type { DeclaredState } from '../core/replica.js';
import { sleep } from './async-waits.js';
import type { RenewalReply } from './lease-client.js';

/** Options of {@link Renewals}. */
export interface RenewalsOptions {
  /**
   * Renews the lease once. Rejects with `unprocessable` if the server refuses the report, with `resource_exhausted` if the
   * report comes too soon or the server has no room for it, and with another error if the server doesn't respond.
   */
  readonly renew: (report: RenewalReport, signal: AbortSignal) => Promise<RenewalReply>;
  /** Returns the number of the last change by this process. */
  readonly getSeq: () => number;
  /** Returns the current load of the replica. Undefined if it isn't known. */
  readonly getLoad: () => ReplicaLoad | undefined;
  /** TTL of the lease, in ms. */
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Called once, when the server reports that the lease has ended. */
  readonly onEnd: (end: 'superseded' | 'unknown') => void;
  /** Called when the server has accepted a renewal with this state. */
  readonly onState: (state: DeclaredState) => void;
  /** Called once, when responses of servers with different registries alternate. */
  readonly onMisrouted: () => void;
  /** Called when the server has accepted new capabilities, or with an error if it refuses them. */
  readonly onCapabilities: (capabilities: readonly Capability[], error?: AnyserveError) => void;
}

/** Number of renewals per TTL. */
const RENEWALS_PER_TTL = 3;

/** Number of renewals per TTL after one without a response. More often, so that a short outage doesn't cost the lease. */
const RETRIES_PER_TTL = 9;

/** Delay before a retry when the server refused capabilities because they came too soon or it had no room, in ms. */
const CAPABILITIES_RETRY_MS = 1000;

/** Renews a two-way lease, and reports the state, the capabilities and the load of its replica. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #stop = new AbortController();
  /** Ends the current wait, or the wait after the renewal in progress. */
  #skipWait = new AbortController();
  #state: DeclaredState;
  /** The newest capabilities, if the server hasn't accepted them yet. */
  #capabilities: readonly Capability[] | undefined;
  /** Earliest time to send the capabilities. */
  #capabilitiesAtMs = 0;
  #renewedAtMs = 0;
  /** Whether the last response was from a server with another registry. */
  #isMisrouted = false;
  #hasReportedMisrouting = false;

  /** `state` is that of the registration. */
  constructor(state: DeclaredState, options: RenewalsOptions) {
    this.#state = state;
    this.#options = options;
  }

  /** Starts renewing. The grant counts as the first renewal, so the next one follows after a third of the TTL. */
  start(): void {
    void this.#run();
  }

  /** Reports a new state of the replica at once. */
  declare(state: DeclaredState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#skipWait.abort();
  }

  /** Reports new capabilities at once, and again until the server accepts or refuses them. Replaces pending ones. */
  replaceCapabilities(capabilities: readonly Capability[]): void {
    this.#capabilities = capabilities;
    this.#skipWait.abort();
  }

  /** Renews the lease at once, or again after the renewal in progress. */
  renewNow(): void {
    this.#skipWait.abort();
  }

  /** Records that a server with another registry responds at the server's address. Reported after the next renewal. */
  recordMisrouting(): void {
    this.#isMisrouted = true;
  }

  /** Stops renewing. */
  stop(): void {
    this.#stop.abort();
    this.#skipWait.abort();
  }

  async #run(): Promise<void> {
    const { ttlMs, clock, onEnd } = this.#options;
    this.#renewedAtMs = clock.nowMs();
    const { signal } = this.#stop;
    let intervalMs = ttlMs / RENEWALS_PER_TTL;
    for (;;) {
      const untilCapabilitiesMs = this.#capabilities ? Math.max(0, this.#capabilitiesAtMs - clock.nowMs()) : intervalMs;
      const waitMs = Math.min(intervalMs, untilCapabilitiesMs);
      if (waitMs > 0) await sleep(clock, waitMs, this.#skipWait.signal);
      if (signal.aborted) return;
      this.#skipWait = new AbortController();
      const renewal = await this.#renew();
      if (signal.aborted) return;
      if (renewal === 'superseded' || renewal === 'unknown') return onEnd(renewal);
      // A misrouted renewal does not end the lease: the server that responded knows nothing about it. If only such responses
      // arrive for a whole TTL, the server that granted the lease is gone.
      if (renewal === 'misrouted' && clock.nowMs() - this.#renewedAtMs >= ttlMs) return onEnd('unknown');
      // Without a response, keep trying: if the server is gone, the lease stream reports it.
      intervalMs = renewal === 'refused' ? 0 : ttlMs / (renewal === 'renewed' ? RENEWALS_PER_TTL : RETRIES_PER_TTL);
    }
  }

  /** Sends one renewal. Returns `refused` if the server rejected all of it because of the capabilities. */
  async #renew(): Promise<RenewalReply | 'refused' | undefined> {
    const { renew, clock, getSeq, getLoad } = this.#options;
    const state = this.#state;
    const capabilities = clock.nowMs() >= this.#capabilitiesAtMs ? this.#capabilities : undefined;
    try {
      const report = { state, seq: getSeq(), load: getLoad() };
      const renewal = await renew(capabilities ? { ...report, capabilities } : report, this.#stop.signal);
      if (renewal === 'misrouted') this.#isMisrouted = true;
      if (renewal !== 'renewed') return renewal;
      this.#recordRenewal(state);
      if (capabilities) this.#settle(capabilities);
      return renewal;
    } catch (error) {
      if (!capabilities || !(error instanceof AnyserveError) || this.#stop.signal.aborted) return undefined;
      this.#capabilitiesAtMs = clock.nowMs() + CAPABILITIES_RETRY_MS;
      if (error.code === 'unprocessable') this.#settle(capabilities, error);
      return error.code === 'unprocessable' || error.code === 'resource_exhausted' ? 'refused' : undefined;
    }
  }

  #recordRenewal(state: DeclaredState): void {
    const { clock, onMisrouted, onState } = this.#options;
    this.#renewedAtMs = clock.nowMs();
    if (this.#isMisrouted && !this.#hasReportedMisrouting) {
      this.#hasReportedMisrouting = true;
      onMisrouted();
    }
    this.#isMisrouted = false;
    onState(state);
  }

  /** Reports the result for capabilities. Newer ones stay pending. */
  #settle(capabilities: readonly Capability[], error?: AnyserveError): void {
    if (this.#capabilities === capabilities) this.#capabilities = undefined;
    this.#options.onCapabilities(capabilities, error);
  }
}
