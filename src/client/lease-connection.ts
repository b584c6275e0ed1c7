import type { Duplex } from 'node:stream';
import { type LeaseEvent, MAX_RENEWAL_LINE_BYTES } from '../api/lease-events.js';
import { type RenewalReport, serializeRenewal } from '../api/lease-renewal.js';
import type { Cordon } from '../core/cordon.js';
import type { Clock } from '../core/ports.js';

/** Timeout for the response to a renewal on the stream, in ms. Short, because a request follows that has a timeout too. */
const RESPONSE_TIMEOUT_MS = 500;

/** Response to a renewal on the stream. */
export interface AcceptedRenewal {
  readonly kind: 'renewed';
  /** The cordon that the server knows. */
  readonly cordon: Cordon | undefined;
}

/** The connection of a lease whose server takes renewals on the stream. */
export class LeaseConnection {
  readonly #socket: Duplex;
  readonly #clock: Clock;
  #isDeclined = false;
  /** Set while the server has not responded to a renewal. */
  #settle: ((renewal: AcceptedRenewal | undefined) => void) | undefined;

  constructor(socket: Duplex, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /** Whether the server still takes renewals on the stream. */
  get isOpenForRenewals(): boolean {
    return !this.#isDeclined && !this.#socket.destroyed;
  }

  /**
   * Renews the lease on the stream. Resolves to undefined if it must be renewed with a request instead: the server has not
   * responded to this renewal or an earlier one, has declined it, or the renewal can't be sent on the stream.
   */
  async renew(report: RenewalReport): Promise<AcceptedRenewal | undefined> {
    // Capabilities can be long, and a refusal of them needs an explanation.
    if (!this.isOpenForRenewals || this.#settle || report.capabilities) return undefined;
    const line = `${serializeRenewal(report)}\n`;
    if (Buffer.byteLength(line) > MAX_RENEWAL_LINE_BYTES) return undefined;
    return new Promise((resolve) => {
      const cancelTimeout = this.#clock.schedule(RESPONSE_TIMEOUT_MS, () => resolve(undefined));
      this.#settle = (renewal) => {
        cancelTimeout();
        resolve(renewal);
      };
      this.#socket.write(line);
    });
  }

  /** Handles an event of the stream. */
  handleEvent(event: LeaseEvent): void {
    if (event.status !== 'renewed' && event.status !== 'not_renewed') return;
    const settle = this.#settle;
    this.#settle = undefined;
    // Later renewals would be declined too, for example because the server no longer accepts the token of the registration.
    if (event.status === 'not_renewed') this.#isDeclined = true;
    settle?.(event.status === 'renewed' ? { kind: 'renewed', cordon: event.cordon } : undefined);
  }
}
