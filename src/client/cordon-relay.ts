import { type Cordon, isNewerCordon } from '../core/cordon.js';

/**
 * The cordon of a replica id, as the API servers report it. The keeper of the replica repeats the newest one to each server
 * that doesn't have it, so a cordon that was set at one server reaches the others, also those that restart.
 */
export class CordonRelay<Server extends object> {
  readonly #onNews: () => void;
  /** The cordon that each server last reported. */
  readonly #reported = new WeakMap<Server, Cordon>();
  #newest: Cordon | undefined;

  /** Calls `onNews` when a server has reported a cordon that is newer than all before. */
  constructor(onNews: () => void) {
    this.#onNews = onNews;
  }

  /** The newest cordon that any server reported. */
  get newest(): Cordon | undefined {
    return this.#newest;
  }

  /** Returns the newest cordon if the server has not reported it. */
  findUnknownTo(server: Server): Cordon | undefined {
    return this.#newest && isNewerCordon(this.#newest, this.#reported.get(server)) ? this.#newest : undefined;
  }

  /** Records the cordon that a server reported, or that it reported none. */
  record(server: Server, cordon: Cordon | undefined): void {
    if (cordon) this.#reported.set(server, cordon);
    else this.#reported.delete(server);
    if (!cordon || !isNewerCordon(cordon, this.#newest)) return;
    this.#newest = cordon;
    this.#onNews();
  }
}
