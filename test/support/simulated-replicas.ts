import type { CallOptions } from '../../src/client/inference-channel.js';
import { AnyserveError } from '../../src/core/errors.js';
import type { ReplicaLoad } from '../../src/core/load.js';
import { ManualClock } from './manual-clock.js';

/** The response of a simulated replica to one call: a success, or an error, after a time. */
export interface SimulatedResponse {
  readonly afterMs: number;
  readonly error?: AnyserveError;
}

/** A simulated replica. Its responses report its load, as those of workers do. */
export class SimulatedReplica {
  /** Returns what the replica does with the next call. */
  respond: () => SimulatedResponse = () => ({ afterMs: 10 });
  /** Maximum number of calls that run at once. Others wait. */
  slots = Number.POSITIVE_INFINITY;
  readonly #clock: ManualClock;
  readonly #endpoint: string;
  #running = 0;
  /** Functions that begin the calls that wait. */
  readonly #waiting = new Set<() => void>();

  constructor(endpoint: string, clock: ManualClock) {
    this.#endpoint = endpoint;
    this.#clock = clock;
  }

  /** Number of calls that run or wait. */
  get calls(): number {
    return this.#running + this.#waiting.size;
  }

  /** Handles a call, unless it is cancelled or its deadline passes before. */
  handle({ deadlineEpochMs, cancellation, onLoad }: CallOptions): Promise<void> {
    const { afterMs, error } = this.respond();
    return new Promise((resolve, reject) => {
      let leave = (): void => {};
      const failLate = (): void => {
        leave();
        reject(new AnyserveError('deadline_exceeded', `${this.#endpoint}: no response`));
      };
      const finish = (): void => {
        leave();
        onLoad?.(this.#load);
        if (error) reject(error);
        else resolve();
      };
      const getRemainingMs = (): number => deadlineEpochMs - this.#clock.epochMs();
      const begin = (): void => {
        const isLate = afterMs > getRemainingMs();
        const cancel = this.#clock.schedule(isLate ? getRemainingMs() : afterMs, isLate ? failLate : finish);
        this.#running++;
        leave = () => {
          cancel();
          this.#release();
        };
      };
      if (this.#running < this.slots) begin();
      else leave = this.#wait(begin, this.#clock.schedule(getRemainingMs(), failLate));
      if (!cancellation) return;
      cancellation.stop = () => {
        leave();
        reject(cancellation.reason);
      };
    });
  }

  /** Lets a call wait. The returned function lets it leave. */
  #wait(begin: () => void, cancelTimeout: () => void): () => void {
    const proceed = (): void => {
      cancelTimeout();
      begin();
    };
    this.#waiting.add(proceed);
    return () => {
      cancelTimeout();
      this.#waiting.delete(proceed);
    };
  }

  #release(): void {
    this.#running--;
    const [next] = this.#waiting;
    if (!next) return;
    this.#waiting.delete(next);
    next();
  }

  get #load(): ReplicaLoad {
    const limit = Number.isFinite(this.slots) ? this.slots : undefined;
    return { running: this.#running, waiting: this.#waiting.size, limit };
  }
}

/** Simulated replicas by endpoint, with a manual clock. Several clients can share them. */
export class SimulatedReplicas {
  readonly clock = new ManualClock();
  readonly #replicas = new Map<string, SimulatedReplica>();

  /** Returns the replica at an endpoint. */
  get(endpoint: string): SimulatedReplica {
    let replica = this.#replicas.get(endpoint);
    if (!replica) {
      replica = new SimulatedReplica(endpoint, this.clock);
      this.#replicas.set(endpoint, replica);
    }
    return replica;
  }

  /** Number of calls that run or wait, at each replica that was called. */
  get calls(): readonly number[] {
    return [...this.#replicas.values()].map(({ calls }) => calls);
  }

  /** Lets time pass. The promises of each timer settle before the next one. */
  async run(ms: number): Promise<void> {
    const { clock } = this;
    const endAtMs = clock.nowMs() + ms;
    await settle();
    for (;;) {
      const nextMs = clock.nextDelayMs;
      if (nextMs > endAtMs - clock.nowMs()) break;
      clock.advance(nextMs);
      await settle();
    }
    clock.advance(endAtMs - clock.nowMs());
    await settle();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
