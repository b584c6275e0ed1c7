import { AnyserveError } from '../core/errors.js';

/** Maximum share of all streams that one peer address can have. The rest stays free for others. */
const PEER_SHARE = 1 / 2;

/** Options of a {@link StreamLimit}. */
export interface StreamLimitOptions {
  /** Name of the streams in messages: `watches`. */
  readonly name: string;
  /** Maximum number of streams. */
  readonly max: number;
  /** Message for a stream over the maximum. */
  readonly whenFull: string;
  /** Maximum number of streams for each peer address. One address never gets more than half of `max`. */
  readonly maxPerPeer?: number | undefined;
}

/** Limits the open streams of one kind: all together, and those of each peer address. */
export class StreamLimit {
  readonly #options: StreamLimitOptions;
  readonly #maxPerPeer: number;
  /** Number of streams of each peer that has any. */
  readonly #counts = new Map<string, number>();
  #size = 0;

  constructor(options: StreamLimitOptions) {
    const { max, maxPerPeer = max } = options;
    this.#options = options;
    this.#maxPerPeer = Math.min(maxPerPeer, Math.floor(max * PEER_SHARE));
  }

  /** Number of open streams. */
  get size(): number {
    return this.#size;
  }

  /**
   * Returns why a peer can't open another stream; undefined if it can. `resource_exhausted`: the peer has reached its own
   * limit. `unavailable`: all streams are taken.
   */
  check(peer: string): AnyserveError | undefined {
    const { name, max, whenFull } = this.#options;
    if (this.#count(peer) >= this.#maxPerPeer) {
      return new AnyserveError(
        'resource_exhausted',
        `${peer} has ${this.#maxPerPeer} ${name}, the maximum for one host`,
      );
    }
    return this.#size >= max ? new AnyserveError('unavailable', whenFull) : undefined;
  }

  /** Counts a stream of a peer. Returns a function that ends the count. */
  add(peer: string): () => void {
    this.#change(peer, 1);
    let isOpen = true;
    return () => {
      if (isOpen) this.#change(peer, -1);
      isOpen = false;
    };
  }

  #count(peer: string): number {
    return this.#counts.get(peer) ?? 0;
  }

  #change(peer: string, difference: 1 | -1): void {
    const count = this.#count(peer) + difference;
    if (count === 0) this.#counts.delete(peer);
    else this.#counts.set(peer, count);
    this.#size += difference;
  }
}
