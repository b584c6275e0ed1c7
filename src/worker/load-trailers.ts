import { Metadata } from '@grpc/grpc-js';
import type { ReplicaLoad } from '../core/load.js';
import { LOAD_KEYS, PUSH_BACK_KEY } from '../inference/trailing-metadata.js';

/**
 * Trailing metadata with the load of a worker, for all its responses. The gRPC library copies the metadata of each response
 * and converts the copy to headers. This object is its own copy, and changes only the headers whose numbers have changed, so
 * that a response costs no allocation. The numbers are those at the end of the response.
 */
export class LoadTrailers extends Metadata {
  readonly #load: ReplicaLoad;
  readonly #headers: Record<string, string>;
  #running = 0;
  #waiting = 0;

  /** `load` is read for each response. Its limit does not change. */
  constructor(load: ReplicaLoad) {
    super();
    this.#load = load;
    this.#headers = {
      [LOAD_KEYS.running]: '0',
      [LOAD_KEYS.waiting]: '0',
      ...(load.limit !== undefined && { [LOAD_KEYS.limit]: String(load.limit) }),
    };
  }

  /** Returns trailing metadata that also asks the caller to send no call for this time. */
  withPushBack(pushBackMs: number): Metadata {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(this.toHttp2Headers())) metadata.set(key, value);
    metadata.set(PUSH_BACK_KEY, String(pushBackMs));
    return metadata;
  }

  override clone(): Metadata {
    return this;
  }

  override toHttp2Headers(): Record<string, string> {
    const { running, waiting } = this.#load;
    if (running !== this.#running) {
      this.#running = running;
      this.#headers[LOAD_KEYS.running] = String(running);
    }
    if (waiting !== this.#waiting) {
      this.#waiting = waiting;
      this.#headers[LOAD_KEYS.waiting] = String(waiting);
    }
    return this.#headers;
  }
}
