import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { Instance } from '../core/replica.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import { isIdListed } from './listed-id.js';
import type { OwnInstance } from './own-instance.js';
import type { ServerAddress } from './server-list.js';

/** Interval at which a process that stands by looks its id up, in ms. */
const STAND_BY_POLL_MS = 2000;

/** Time for which an id must be unlisted before a process that stands by takes it back, in ms. */
const ID_FREE_FOR_MS = 5000;

/** Dependencies of an {@link IdArbitration}. */
export interface IdArbitrationOptions {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly id: ReplicaId;
  readonly instance: OwnInstance;
  /** Ends the wait of a process that stands by. */
  readonly signal: AbortSignal;
  /** Called when this process must give the id up at all servers, because another one took it at `server`. */
  readonly onGiveUp: (server: ServerAddress, checkInMs: number) => void;
  /** Called when the id is free, and this process can register again. */
  readonly onFree: () => void;
}

/**
 * Decides which of two processes keeps a replica id that both register. The rule:
 *
 * 1. At each server, the newest registration has the id. The server closes the older lease with a `superseded` event that
 *    names the winner, and its response to the winner names the process that it replaced. A registration by the same
 *    process is not a takeover.
 * 2. A process that is superseded at one server gives the id up at all servers. Otherwise some servers would list one
 *    process, and others the other one.
 * 3. If each process replaced the other at some server, both would give the id up. So the process that started later keeps
 *    it, and of two that started together, the one with the greater id ({@link OwnInstance.keepsIdAgainst}). Both processes
 *    decide the same, if each has received the response that names the other one. If `superseded` overtakes that response,
 *    both stand by, and both register again after 5 s.
 * 4. A process that gave the id up stands by. It registers again when no server that responds has listed the id for 5 s.
 *    Otherwise the two processes would take the id from each other forever. The 5 s give a winner that only lost its
 *    connection time to register again. If no server responds, the id counts as listed.
 * 5. A process that doesn't report its own id, such as a client of the Python server, keeps the id that it took.
 */
export class IdArbitration {
  readonly #options: IdArbitrationOptions;
  #isStandingBy = false;

  constructor(options: IdArbitrationOptions) {
    this.#options = options;
  }

  /** Whether this process has given the id up. */
  get isStandingBy(): boolean {
    return this.#isStandingBy;
  }

  /** Records that another process took the id at a server. `by` is undefined if that process doesn't report itself. */
  recordSuperseded(server: ServerAddress, by: Instance | undefined): void {
    const { instance, onGiveUp } = this.#options;
    if (this.#isStandingBy || instance.keepsIdAgainst(by)) return;
    this.#isStandingBy = true;
    onGiveUp(server, STAND_BY_POLL_MS);
    void this.#standBy();
  }

  async #standBy(): Promise<void> {
    const isFree = await this.#waitUntilFree();
    this.#isStandingBy = false;
    if (isFree) this.#options.onFree();
  }

  /** Waits until the id is free. Resolves with false if the signal is aborted first. */
  async #waitUntilFree(): Promise<boolean> {
    const { clock, signal } = this.#options;
    let freeSinceMs: number | undefined;
    for (;;) {
      const remainingMs = freeSinceMs === undefined ? STAND_BY_POLL_MS : freeSinceMs + ID_FREE_FOR_MS - clock.nowMs();
      if (remainingMs <= 0) return true;
      await sleep(clock, Math.min(STAND_BY_POLL_MS, remainingMs), signal);
      const isListed = await isIdListed(this.#options);
      if (signal.aborted) return false;
      freeSinceMs = isListed === false ? (freeSinceMs ?? clock.nowMs()) : undefined;
    }
  }
}
