import type { ClientTls } from '../core/tls.js';
import { InferenceChannel, type InferenceChannelOptions } from './inference-channel.js';

/** Options of the channels of a pool. */
export interface ChannelPoolOptions extends Omit<InferenceChannelOptions, 'tls'> {
  /** Returns the current TLS settings. Default: plain text. */
  readonly tls?: (() => ClientTls) | undefined;
}

interface Pooled {
  readonly channel: InferenceChannel;
  readonly tls: ClientTls | undefined;
}

/** Pool of open channels, one per endpoint. A channel stays open until its replica has left or the pool is closed. */
export class ChannelPool {
  readonly #options: ChannelPoolOptions;
  readonly #pooled = new Map<string, Pooled>();

  constructor(options: ChannelPoolOptions) {
    this.#options = options;
  }

  /**
   * Returns the channel to an endpoint. Opens one if there is none, or if the TLS settings have changed. Throws `usage`
   * for an endpoint that isn't valid.
   */
  get(endpoint: string): InferenceChannel {
    const tls = this.#options.tls?.();
    const open = this.#pooled.get(endpoint);
    if (open && areSameTlsSettings(open.tls, tls)) return open.channel;
    open?.channel.closeWhenUnused();
    const channel = new InferenceChannel(endpoint, { ...this.#options, tls });
    this.#pooled.set(endpoint, { channel, tls });
    return channel;
  }

  /** Removes a channel that failed, so that the next call to its endpoint opens a new one. */
  drop(channel: InferenceChannel): void {
    if (this.#pooled.get(channel.endpoint)?.channel !== channel) return;
    channel.closeWhenUnused();
    this.#pooled.delete(channel.endpoint);
  }

  /** Removes the channel to an endpoint whose replica has left, once its calls have ended. */
  dropEndpoint(endpoint: string): void {
    this.#pooled.get(endpoint)?.channel.closeWhenUnused();
    this.#pooled.delete(endpoint);
  }

  /** Closes all channels. Calls in progress must have been cancelled before. */
  close(): void {
    for (const { channel } of this.#pooled.values()) channel.close();
    this.#pooled.clear();
  }
}

/** Compares TLS settings by value, because a getter can return a new object each time. */
function areSameTlsSettings(one: ClientTls | undefined, other: ClientTls | undefined): boolean {
  if (one === other) return true;
  return one?.ca === other?.ca && one?.cert === other?.cert && one?.key === other?.key && !one === !other;
}
