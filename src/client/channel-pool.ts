import { InferenceChannel, type InferenceChannelOptions } from './inference-channel.js';

/** The open channels, one for each endpoint; a client talks to few, so none is closed before the pool is. */
export class ChannelPool {
  readonly #options: InferenceChannelOptions;
  readonly #channels = new Map<string, InferenceChannel>();

  constructor(options: InferenceChannelOptions) {
    this.#options = options;
  }

  /** The channel to an endpoint, opened if need be. Throws `usage` when it cannot be dialled. */
  get(endpoint: string): InferenceChannel {
    const open = this.#channels.get(endpoint);
    if (open) return open;
    const channel = new InferenceChannel(endpoint, this.#options);
    this.#channels.set(endpoint, channel);
    return channel;
  }

  /** Closes the channel to an endpoint that failed, so that the next call to its endpoint begins afresh. */
  drop(endpoint: string): void {
    this.#channels.get(endpoint)?.close();
    this.#channels.delete(endpoint);
  }

  /** Closes all. */
  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}
