import type { ReplicaLoad } from '../../core/load.js';
import type { AttemptOutcome, AttemptRecord, Target } from '../discovery.js';
import type { ReplicaStats } from './replica-stats.js';

/** The discovery that an attempt belongs to. */
export interface AttemptOwner {
  /** Records that a target responds. */
  recordResponse(target: Target): void;
  /** Records the end of an attempt at a target. */
  recordOutcome(target: Target, stats: ReplicaStats, outcome: AttemptOutcome): void;
}

/** An attempt at a target. It is a class, because an object with four functions takes three times the memory, and each call has one. */
export class TableAttempt implements AttemptRecord {
  readonly #owner: AttemptOwner;
  readonly #target: Target;
  readonly #stats: ReplicaStats;

  /** Begins the attempt. */
  constructor(owner: AttemptOwner, target: Target, stats: ReplicaStats) {
    this.#owner = owner;
    this.#target = target;
    this.#stats = stats;
    stats.endpoint.inFlight++;
  }

  recordMessage(firstByteMs?: number): void {
    this.#owner.recordResponse(this.#target);
    if (firstByteMs !== undefined) this.#stats.recordFirstByte(firstByteMs);
  }

  recordLoad(load: ReplicaLoad): void {
    this.#stats.recordResponseLoad(load);
  }

  end(outcome: AttemptOutcome): void {
    this.#stats.endpoint.inFlight--;
    this.#owner.recordOutcome(this.#target, this.#stats, outcome);
  }

  forgive(): void {
    this.#stats.ejection.forgiveInternalError();
  }
}
