/** Number of consecutive failures to connect, or of responses `unavailable`, after which a replica is ejected. */
const MAX_UNAVAILABLE = 3;

/** Number of consecutive internal errors after which a replica is ejected. */
const MAX_INTERNAL_ERRORS = 5;

/** Duration of the first ejection, in ms. Each later one takes longer by the same time. */
const EJECTION_MS = 30_000;

/** Maximum duration of an ejection, in ms. */
const MAX_EJECTION_MS = 300_000;

/** Kind of a failure that counts against a replica. */
export type CountedFailure = 'unavailable' | 'internal';

/**
 * Outlier ejection of one replica: after several failures in a row, no calls go to it for some time. Ejections that follow
 * each other become longer, and shorter again while the replica is not ejected.
 */
export class Ejection {
  #unavailable = 0;
  #internalErrors = 0;
  #level = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  /** Whether the replica was unavailable since its last success. One that fails internally is there. */
  get wasUnavailable(): boolean {
    return this.#unavailable > 0;
  }

  /** Time at which the ejection ends or has ended. */
  get untilMs(): number {
    return this.#untilMs;
  }

  isEjected(nowMs: number): boolean {
    return nowMs < this.#untilMs;
  }

  recordSuccess(): void {
    this.#unavailable = 0;
    this.#internalErrors = 0;
  }

  /** Returns whether the replica has failed often enough to be ejected. */
  recordFailure(kind: CountedFailure): boolean {
    if (kind === 'unavailable') this.#unavailable++;
    else this.#internalErrors++;
    return this.#unavailable >= MAX_UNAVAILABLE || this.#internalErrors >= MAX_INTERNAL_ERRORS;
  }

  /** Takes back an internal error, because other replicas failed the same call: its input is the likely cause. */
  forgiveInternalError(): void {
    this.#internalErrors = Math.max(0, this.#internalErrors - 1);
  }

  /** Ejects the replica. The time depends on earlier ejections, unless it is given. */
  eject(nowMs: number, durationMs?: number): void {
    if (this.isEjected(nowMs)) return;
    const levelsGone = Math.floor((nowMs - this.#untilMs) / EJECTION_MS);
    this.#level = Math.max(0, this.#level - levelsGone) + 1;
    this.#untilMs = nowMs + (durationMs ?? Math.min(MAX_EJECTION_MS, this.#level * EJECTION_MS));
  }
}
