import type { AnyserveError, ErrorCode } from '../core/errors.js';
import type { Random } from '../core/ports.js';
import { createBackoff, STABLE_AFTER_MS } from './backoff.js';

/** Delay before a server that refused the registration is tried again, in ms. */
const REFUSED_RETRY_MS = 60_000;

/** Refusals of the registration or of our token, and servers that are no API servers. Trying again soon can't help. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'unprocessable',
  'not_an_api_server',
  'server_unauthenticated',
  'server_permission_denied',
]);

/** The failures of the registrations with one API server: which are reported, and when to try again. */
export class RegistrationFailures {
  readonly #backoff;
  /** The refusals since the last registration that were reported. Each is reported once, not at every attempt. */
  readonly #reportedRefusals = new Set<string>();
  /** Whether a failure was reported since the last registration. */
  #isOutageReported = false;

  constructor(random: Random) {
    this.#backoff = createBackoff(random);
  }

  /** Returns whether another attempt can only succeed after somebody has changed something. */
  static isRefusal(error: AnyserveError): boolean {
    return REFUSALS.has(error.code);
  }

  /** Records a granted lease. */
  recordRegistration(): void {
    this.#reportedRefusals.clear();
    this.#isOutageReported = false;
  }

  /** Records the end of a lease. */
  recordLeaseEnd(heldForMs: number): void {
    if (heldForMs >= STABLE_AFTER_MS) this.#backoff.reset();
  }

  /** Returns the delay before the attempt after a failure, in ms. */
  computeNextDelayMs(error: AnyserveError): number {
    return RegistrationFailures.isRefusal(error) ? REFUSED_RETRY_MS : this.#backoff.computeNextDelayMs();
  }

  /**
   * Returns whether to report a failure, and remembers that it was reported. A refusal is reported once. Of an outage of this
   * server, only the beginning is reported while the replica is registered elsewhere.
   */
  shouldReport(error: AnyserveError, isRegisteredElsewhere: boolean): boolean {
    if (this.#reportedRefusals.has(error.message)) return false;
    if (RegistrationFailures.isRefusal(error)) this.#reportedRefusals.add(error.message);
    else if (this.#isOutageReported && isRegisteredElsewhere) return false;
    this.#isOutageReported = true;
    return true;
  }
}
