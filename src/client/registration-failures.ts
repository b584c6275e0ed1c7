import type { AnyserveError, ErrorCode } from '../core/errors.js';
import type { Random } from '../core/ports.js';
import { createBackoff } from './backoff.js';

/** A lease held this long was a success: the backoff starts over. */
const STABLE_AFTER_MS = 30_000;

/** Refusals of our token. They aren't final: the token can be replaced, here or at the server, while the keeper runs. */
const TOKEN_REFUSAL_CODES: ReadonlySet<ErrorCode> = new Set(['server_unauthenticated', 'server_permission_denied']);

/** Errors of a server that can be another's. They are final only before the first registration, and from all servers. */
const WRONG_SERVER_CODES: ReadonlySet<ErrorCode> = new Set(['not_an_api_server', ...TOKEN_REFUSAL_CODES]);

/** The failures of a lease keeper's registrations: which are final, which are reported, and when to try again. */
export class RegistrationFailures {
  readonly #backoff;
  readonly #serverCount: number;
  #wasRegistered = false;
  #wrongServers = 0;
  /** Token refusals reported since the last registration. Each is reported once, not at every attempt. */
  readonly #reportedRefusals = new Set<string>();

  constructor(random: Random, serverCount: number) {
    this.#backoff = createBackoff(random);
    this.#serverCount = serverCount;
  }

  /** Records a granted lease. */
  recordRegistration(): void {
    this.#wasRegistered = true;
    this.#reportedRefusals.clear();
  }

  /** Records the end of a lease. */
  recordLeaseEnd(heldForMs: number): void {
    if (heldForMs >= STABLE_AFTER_MS) this.#backoff.reset();
  }

  /** Records a failure. Returns whether it is final. */
  record(error: AnyserveError): boolean {
    if (!WRONG_SERVER_CODES.has(error.code)) return error.isFinal;
    this.#wrongServers++;
    return !this.#wasRegistered && this.#wrongServers >= this.#serverCount;
  }

  /** Returns the delay before the next attempt, in ms. */
  computeNextDelayMs(): number {
    return this.#backoff.computeNextDelayMs();
  }

  /** Returns whether to report a failure, and remembers a token refusal as reported. */
  shouldReport(error: AnyserveError): boolean {
    if (this.#reportedRefusals.has(error.message)) return false;
    if (TOKEN_REFUSAL_CODES.has(error.code)) this.#reportedRefusals.add(error.message);
    return true;
  }
}
